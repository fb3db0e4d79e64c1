"""A TrafficInfluence resource and its life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Self

from core5g.steering.influence.wire import DeviceIntent, Intent, parse
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError


class State(Enum):
    """As the API names them (schema TrafficInfluence)."""

    ORDERED = "ordered"
    CREATED = "created"
    ACTIVE = "active"
    ERROR = "error"
    DELETING = "deletion in progress"
    DELETED = "deleted"


class Input(Enum):
    PREPARED = "prepared"  # it is known which UPFs are to do what
    APPLIED = "applied"  # all of them do
    FAILED = "failed"
    CHANGED = "changed"  # by its consumer, or since another line-up is committed
    DELETE = "delete"
    REMOVED = "removed"  # nobody has it any more


TABLE: Final[Mapping[tuple[State, Input], State]] = {
    (State.ORDERED, Input.PREPARED): State.CREATED,
    (State.ORDERED, Input.FAILED): State.ERROR,
    (State.CREATED, Input.APPLIED): State.ACTIVE,
    (State.CREATED, Input.FAILED): State.ERROR,
    (State.CREATED, Input.CHANGED): State.ORDERED,
    (State.ACTIVE, Input.CHANGED): State.ORDERED,
    (State.ERROR, Input.CHANGED): State.ORDERED,
    (State.ORDERED, Input.DELETE): State.DELETING,
    (State.CREATED, Input.DELETE): State.DELETING,
    (State.ACTIVE, Input.DELETE): State.DELETING,
    (State.ERROR, Input.DELETE): State.DELETING,
    (State.DELETING, Input.REMOVED): State.DELETED,
}


def follow(state: State, entered: Input) -> State:
    """Raises IntegrityError for what the table does not have."""
    try:
        return TABLE[state, entered]
    except KeyError:
        raise IntegrityError(f"{entered.value} in the state {state.value!r}", where="TrafficInfluence") from None


@dataclass(frozen=True, slots=True)
class Resource:
    """As it is kept.

    owner       SPIFFE id of the consumer that made it; nobody else sees it
    given       the intent as it was sent
    at          UPFs that have it, or may have it: each with the order it was given
    unsettled   those that were away: what became of it there is looked up
    events      how many changes were told to its sink; `silent`: the sink wants no more
    """

    id: str
    owner: str
    given: JsonObject
    state: State
    changed_at: float
    version: int = 1
    at: Mapping[str, JsonObject] = field(default_factory=dict)
    unsettled: frozenset[str] = frozenset()
    instances: tuple[str, ...] = ()
    device_used: JsonObject | None = None
    why: str = ""
    events: int = 0
    silent: bool = False

    @property
    def intent(self) -> Intent:
        model: type[Intent] = DeviceIntent if "device" in self.given else Intent
        return parse(model, self.given)[0]

    def after(self, entered: Input, now: float, **changes: Any) -> Self:
        return replace(self, state=follow(self.state, entered), changed_at=now, version=self.version + 1, **changes)

    def to_wire(self) -> JsonObject:
        """Schema TrafficInfluence: without the device, for privacy, and without the sink's credential."""
        shown = {key: value for key, value in self.given.items() if key != "device"}
        subscription = shown.get("subscriptionRequest")
        if isinstance(subscription, dict):
            shown["subscriptionRequest"] = {k: v for k, v in subscription.items() if k != "sinkCredential"}
        return {"trafficInfluenceID": self.id, **shown, "state": self.state.value}

    def to_record(self) -> JsonObject:
        return {
            "id": self.id,
            "owner": self.owner,
            "given": self.given,
            "state": self.state.value,
            "changed_at": self.changed_at,
            "version": self.version,
            "at": dict(self.at),
            "unsettled": [*sorted(self.unsettled)],
            "instances": [*self.instances],
            "device_used": self.device_used,
            "why": self.why,
            "events": self.events,
            "silent": self.silent,
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Raises IntegrityError."""
        try:
            return cls(
                **{
                    **record,
                    "state": State(record["state"]),
                    "unsettled": frozenset(record["unsettled"]),
                    "instances": tuple(record["instances"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            remedy = "restore the store from a backup"
            raise IntegrityError(
                "a TrafficInfluence resource is corrupt", where=str(error)[:100], remedy=remedy
            ) from error
