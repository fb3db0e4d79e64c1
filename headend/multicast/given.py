"""The documents that `nf tree` works on: files that were given, else what the NOC has committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headend.multicast.planning.planned import Planned, PlannedWay, plan_ways
from nf.contracts.noc_client import CLIENT
from nf.documents.fleet import Fleet, FleetSpec
from nf.documents.keys import parse_key
from nf.documents.lineup import LineUp
from nf.documents.loader import Loaded, load_fleet, load_lineup
from nf.documents.rules import nearest
from nf.errors import DocumentError, InputError, NfError, NotFoundError, Problem

_COMPLETION_S = 1.0


@dataclass(frozen=True, slots=True)
class Given:
    lineup: Loaded[LineUp]
    fleet: Loaded[Fleet]

    def plan(self) -> Planned:
        return plan_ways(self.lineup.document, self.fleet.document)

    def ways(self, plan: Planned, channel: str, path: str = "") -> list[PlannedWay]:
        """The planned paths of a channel. Raises NotFoundError; DocumentError when one of them cannot be planned."""
        channels = {one.id: one for one in self.lineup.document.spec.channels}
        if channel not in channels:
            raise NotFoundError("no such channel in the line-up", where=channel, remedy=nearest(channel, channels))
        asked = {one.id for one in channels[channel].delivery if one.type == "ssm"}
        if path and path not in asked:
            raise NotFoundError("no such path of type ssm", where=f"{channel}/{path}", remedy=nearest(path, asked))
        if not asked:
            raise NotFoundError("the channel has no path of type ssm", where=channel, remedy="add one to the line-up")
        found = [one for one in plan.ways if one.way.channel.id == channel and path in ("", one.way.path.id)]
        if len(found) < len({path} if path else asked):
            raise DocumentError(
                [self.place(problem) for problem in dict.fromkeys(plan.problems)], where=self.lineup.file
            )
        return found

    def place(self, problem: Problem) -> Problem:
        """With file, line and column: the two documents have no key below `spec` in common."""
        loc = parse_key(problem.key)
        in_fleet = len(loc) > 1 and loc[1] in FleetSpec.model_fields
        return self.fleet.place(problem) if in_fleet else self.lineup.place(problem)


def documents(lineup: Path | None, fleet: Path | None, profile: Path | None, *, timeout_s: float = 15.0) -> Given:
    """Raises the error tree."""
    texts = {
        kind: (str(path), _read(path)) for kind, path in (("lineup", lineup), ("fleet", fleet)) if path is not None
    }
    if len(texts) < 2:
        committed = CLIENT.get().committed(profile=profile, timeout_s=timeout_s)
        texts = {"lineup": committed.lineup, "fleet": committed.fleet} | texts
    for kind, (_, text) in texts.items():
        if not text.strip():
            raise NotFoundError(
                f"the NOC has no {kind} committed yet", where="nf tree", remedy=f"give a file: --{kind} FILE"
            )
    first, second = texts["lineup"], texts["fleet"]
    return Given(load_lineup(first[1], file=first[0]), load_fleet(second[1], file=second[0]))


def channels(lineup: Path | None, profile: Path | None) -> list[str]:
    """For completion: quick, empty when nothing can be read."""
    try:
        found = load_lineup(_read(lineup), file="") if lineup is not None else _committed(profile)
    except (NfError, OSError):
        return []
    delivered = found.document.spec.channels
    return [one.id for one in delivered if any(path.type == "ssm" for path in one.delivery)]


def paths(lineup: Path | None, channel: str, profile: Path | None) -> list[str]:
    """For completion: those of type ssm of the channel."""
    try:
        found = load_lineup(_read(lineup), file="") if lineup is not None else _committed(profile)
    except (NfError, OSError):
        return []
    return [
        path.id
        for one in found.document.spec.channels
        if one.id == channel
        for path in one.delivery
        if path.type == "ssm"
    ]


def links_and_nodes(fleet: Path | None, profile: Path | None) -> tuple[list[str], list[str]]:
    """For completion."""
    try:
        text = (
            _read(fleet)
            if fleet is not None
            else CLIENT.get().committed(profile=profile, timeout_s=_COMPLETION_S).fleet[1]
        )
        spec = load_fleet(text, file="").document.spec
    except (NfError, OSError):
        return [], []
    return [link.id for link in spec.links], [appliance.id for appliance in spec.appliances]


def _committed(profile: Path | None) -> Loaded[LineUp]:
    name, text = CLIENT.get().committed(profile=profile, timeout_s=_COMPLETION_S).lineup
    return load_lineup(text, file=name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
