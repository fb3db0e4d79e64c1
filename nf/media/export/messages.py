"""What is sent to Kafka. Their JSON Schemas are published (`nf schema Alert`, `nf schema AnalyticsEvent`).

Both grow by new keys only: a reader passes over what it does not know. `id` is the key of the message: the same event
has the same id, however often it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from nf.documents.model import DocumentModel, Whole
from nf.documents.registry import Extension

ALERTS: Final = "alerts"
ANALYTICS: Final = "analytics-events"

Moment: TypeAlias = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
EventId: TypeAlias = Annotated[str, Field(min_length=1, max_length=512)]


def written(at: float) -> str:
    """RFC 3339 in UTC, to the millisecond. `at`: seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Alert(DocumentModel):
    """A change of an alarm after ITU-T X.733: it is raised, changes its severity, or is over.

    id        the alarm and the number of its change
    alarm     the same from when an alarm is raised until it is over
    number    of the change, from 1: an alarm's highest one is what holds
    node      the appliance that says it; empty: the NOC itself
    object    what it is about
    first_at  since when it stands; `at`: when it changed
    """

    version: Literal["streamverse.alert/1"] = "streamverse.alert/1"
    id: EventId
    alarm: str
    number: Annotated[Whole, Field(ge=1)]
    change: Literal["raised", "changed", "cleared"]
    severity: Literal["critical", "major", "minor", "warning", "cleared"]
    cause: str
    object: str
    noc: str
    node: str
    pop: str
    text: str
    remedy: str
    first_at: Moment
    at: Moment


class AnalyticsEvent(DocumentModel):
    """Something that has ended: a time that was measured, a switch, a purge.

    type    delivery       what one place of a channel's chain has done between `began` and `at`
            path-state     how a path was at a site at `at`
            path-switched  a channel takes another path at a site
            purge-ended    every cache has acknowledged it, or it has failed or expired
    counts  how much there was of it between `began` and `at`
    values  as they were at `at`, with their units in their names
    facts   words
    """

    version: Literal["streamverse.analytics-event/1"] = "streamverse.analytics-event/1"
    id: EventId
    type: Literal["delivery", "path-state", "path-switched", "purge-ended"]
    noc: str
    began: Moment
    at: Moment
    node: str = ""
    pop: str = ""
    channel: str = ""
    path: str = ""
    tier: str = ""
    counts: Mapping[str, float] = Field(default_factory=dict)
    values: Mapping[str, float] = Field(default_factory=dict)
    facts: Mapping[str, str] = Field(default_factory=dict)


EXTENSION: Final = Extension(messages={"Alert": Alert, "AnalyticsEvent": AnalyticsEvent})
