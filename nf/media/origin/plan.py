"""Pure: the steps from the buckets that stand to the buckets that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from nf.contracts.driver import State, Step
from nf.contracts.json import JsonObject
from nf.documents.model import DocumentModel
from nf.errors import InputError
from nf.media.documents import Bucket, OriginSection

ENSURE, DELETE = "origin.ensure", "origin.delete"
OTHERS, UNREACHABLE = "others", "unreachable"
BESIDE = frozenset({OTHERS, UNREACHABLE})
"""What an observed value has beside the section."""

_ENSURE_BUDGET_S = 10.0
_UNDO_BUDGET_S = 10.0
_DELETE_BUDGET_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """One channel's part of a bucket at an endpoint: what steps are about."""

    endpoint: str
    bucket: Bucket

    @property
    def key(self) -> str:
        return f"{self.endpoint}/{self.bucket.name}/{self.bucket.channel}"

    @property
    def prefix(self) -> str:
        return f"{self.bucket.channel}/"

    def to_json(self) -> JsonObject:
        return {"endpoint": self.endpoint, "bucket": self.bucket.to_json()}

    @classmethod
    def from_json(cls, data: object) -> Place:
        """Raises ValueError."""
        if not isinstance(data, Mapping):
            raise ValueError("no place of an origin")  # noqa: TRY004 - bad data, not a bad call
        return cls(str(data["endpoint"]), Bucket.model_validate(data["bucket"]))


def section(want: DocumentModel | None) -> OriginSection | None:
    """Raises InputError."""
    if want is not None and not isinstance(want, OriginSection):
        raise InputError(f"not an s3-origin section: {type(want).__name__}", where="s3-origin")
    return want


def places(want: OriginSection | None) -> dict[str, Place]:
    found = [Place(want.endpoint, bucket) for bucket in want.buckets] if want is not None else []
    return {place.key: place for place in found}


def objects_fact(place: Place, count: int) -> str:
    """How many objects stand there, to one digit: the live window comes and goes, and a plan is to stay the same."""
    scale = 10 ** max(0, len(str(count)) - 1)
    return f"{place.key}.objects={round(count / scale) * scale}"


def state_of(standing: Mapping[str, Place], objects: Mapping[str, int], unreachable: Collection[str] = ()) -> State:
    """`value` has the shape of the section; endpoints beyond the first, left by a move, stand in `others`.

    `unreachable`: endpoints that did not answer; what stands there is as it was when they did.
    """
    if not standing:
        return State(None)
    by_endpoint: dict[str, list[Bucket]] = {}
    for _, place in sorted(standing.items()):
        by_endpoint.setdefault(place.endpoint, []).append(place.bucket)
    sections = [OriginSection(endpoint=e, buckets=tuple(b)).to_json() for e, b in sorted(by_endpoint.items())]
    value: JsonObject = dict(sections[0])
    if len(sections) > 1:
        value[OTHERS] = [*sections[1:]]
    if unreachable:
        value[UNREACHABLE] = [*sorted(unreachable)]
    facts = {fact for place in standing.values() for fact in place.bucket.provides}
    facts |= {objects_fact(standing[key], count) for key, count in objects.items()}
    return State(value, frozenset(facts))


def standing_of(have: State) -> dict[str, Place]:
    if have.value is None:
        return {}
    others = have.value.get(OTHERS, [])
    first = {key: value for key, value in have.value.items() if key not in BESIDE}
    found: dict[str, Place] = {}
    for data in (first, *(others if isinstance(others, list) else ())):
        found |= places(OriginSection.model_validate(data))
    return found


def plan(have: State, want: OriginSection | None) -> tuple[Step, ...]:
    """Buckets are made at once; what is no longer wanted is deleted for ever, after the commit is decided."""
    standing, wanted = standing_of(have), places(want)
    return (*_made(standing, wanted), *_deleted(standing, wanted, have.facts))


def _made(standing: Mapping[str, Place], wanted: Mapping[str, Place]) -> Iterator[Step]:
    for key, place in sorted(wanted.items()):
        if standing.get(key) != place:
            yield Step(
                id=f"bucket {place.bucket.name} for {place.bucket.channel}/{place.bucket.path}",
                kind=ENSURE,
                arguments=place.to_json(),
                provides=frozenset(place.bucket.provides),
                budget_s=_ENSURE_BUDGET_S,
                undo_budget_s=_UNDO_BUDGET_S,
                summary=f"bucket {place.bucket.name} at {place.endpoint} takes {place.bucket.channel}, open to readers",
            )


def _deleted(standing: Mapping[str, Place], wanted: Mapping[str, Place], facts: frozenset[str]) -> Iterator[Step]:
    for key, place in sorted(standing.items()):
        if key in wanted:
            continue
        told = next(
            (fact.rpartition("=")[2] for fact in facts if fact.startswith(f"{key}.objects=")), "an unknown number of"
        )
        what = f"{told} object{'' if told == '1' else 's'}"
        what = f"about {what}" if told.isdigit() else what
        bucket = place.bucket
        yield Step(
            id=f"delete {bucket.channel}/{bucket.path} from bucket {bucket.name}",
            kind=DELETE,
            arguments=place.to_json(),
            budget_s=_DELETE_BUDGET_S,
            disruption=f"{what} of {bucket.channel} are gone for ever",
            reversible=False,
            summary=f"delete {what} of {bucket.channel} from bucket {bucket.name} at {place.endpoint}, "
            "and the bucket when it is empty then",
        )
