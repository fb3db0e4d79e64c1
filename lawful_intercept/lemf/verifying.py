"""Everything that is stored, read again: each record, each number, each check."""

from __future__ import annotations

from dataclasses import dataclass, field

from lawful_intercept.lemf.checking import Checker, State
from lawful_intercept.lemf.index import position
from lawful_intercept.lemf.journal import Place
from lawful_intercept.lemf.sessions import PAGE, Archive
from nf.contracts.json import JsonObject


@dataclass(slots=True)
class Report:
    """`not_indexed`: records that the receiver reads at its next start. `incomplete`: sessions in which something is

    missing, differs or is not opened; `wrong`: those whose checks say that something was changed.
    """

    records: int = 0
    not_indexed: int = 0
    sessions: int = 0
    incomplete: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0

    @property
    def whole(self) -> bool:
        return not (self.incomplete or self.wrong or self.unreadable)

    def to_json(self) -> JsonObject:
        return {
            "records": self.records,
            "not_indexed": self.not_indexed,
            "sessions": self.sessions,
            "incomplete": list(self.incomplete),
            "wrong": list(self.wrong),
            "checks": dict(self.checks),
            "unreadable": self.unreadable,
            "whole": self.whole,
        }


def verify(archive: Archive) -> Report:
    """Raises IntegrityError when a record is not what was stored."""
    report = Report(unreadable=archive.unreadable())
    indexed = position(archive.database)
    for entry in archive.journal.scan(Place(0, 0)):
        report.records += 1
        report.not_indexed += entry.place.number >= indexed.number
    checker = Checker(archive.database, archive.journal, archive.keyring)
    offset = 0
    while sessions := archive.sessions(PAGE, offset):
        offset += len(sessions)
        for session in sessions:
            report.sessions += 1
            states = list(checker.states(session.number))
            for check_type, state in states:
                name = f"{check_type.name.lower()} {state.value}"
                report.checks[name] = report.checks.get(name, 0) + 1
            if any(state is State.WRONG for _, state in states):
                report.wrong.append(session.number)
            if not all(stream.whole for stream in session.streams):
                report.incomplete.append(session.number)
    return report
