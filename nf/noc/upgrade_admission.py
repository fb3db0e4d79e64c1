"""Who may be upgraded so, and why not: asked when an upgrade begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nf.contracts.image import ImageReport
from nf.documents.fleet import Fleet
from nf.errors import InputError, NotFoundError, Problem, RefusedError
from nf.noc.bundles import BundleRecord
from nf.noc.maintenance import Maintenance
from nf.noc.sessions import Sessions
from nf.noc.upgrade_plan import WAVE
from nf.noc.upgrade_records import ENDED, Member, UpgradeRecord
from nf.noc.versions import compare

AGAIN = "--again installs it anew"


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for; as `StartUpgradeRequest`, with its defaults filled in."""

    targets: tuple[str, ...]
    bundle: BundleRecord
    author: str
    reason: str = ""
    canary: str = ""
    wave: int = WAVE
    soak_s: int = 120
    not_before: float = 0.0
    drain: bool = False
    allow_downgrade: bool = False
    again: bool = False
    when_back: bool = False
    hold_s: int = 60
    patience_s: int = 600


@dataclass(frozen=True, slots=True)
class Admission:
    """`image_of`: what an appliance runs from, as it said last; None when it runs from none, as far as it ever said."""

    sessions: Sessions
    maintenance: Maintenance
    image_of: Callable[[str], ImageReport | None]

    def version(self, name: str) -> str:
        image = self.image_of(name)
        return "" if image is None else image.version

    def unavailable(self, name: str) -> str:
        """Why it cannot be upgraded now; empty = it can."""
        if self.sessions.get(name) is None:
            return "is offline"
        window = self.maintenance.of_appliance(name)
        return f"is under maintenance: {window.reason}" if window is not None else ""

    def admit(
        self, fleet: Fleet, request: Request, records: Iterable[UpgradeRecord]
    ) -> tuple[list[str], dict[str, str]]:
        """Who gets it, and who of a role is left out with the reason.

        Raises NotFoundError, InputError, RefusedError with all problems.
        """
        roles = {appliance.id: appliance.role.value for appliance in fleet.spec.appliances}
        by_name = {target for target in request.targets if target in roles}
        by_role = {name for name, role in roles.items() if role in set(request.targets) - by_name}
        for target in request.targets:
            if target not in roles and target not in roles.values():
                raise NotFoundError("no such appliance or role", where=target, remedy="see `nf appliance list`")
        busy = {one.appliance: record.id for record in records if record.open for one in record.members if _open(one)}
        named: list[str] = []
        left_out: dict[str, str] = {}
        problems: list[Problem] = []
        for name in sorted(by_name | by_role):
            problem = self._problem(name, roles[name], request, busy)
            same = self.version(name) == request.bundle.version and not request.again
            if problem is not None:
                problems.append(problem)
            elif same and name not in by_name:
                left_out[name] = f"runs {request.bundle.version} already"
            elif same:
                problems.append(Problem(f"runs {request.bundle.version} already", AGAIN, key=name))
            else:
                named.append(name)
        _refuse(problems)
        if not named:
            raise RefusedError(f"everybody runs {request.bundle.version} already", where="upgrade", remedy=AGAIN)
        self._admit_canary(request.canary, named)
        return named, left_out

    def _problem(self, name: str, role: str, request: Request, busy: dict[str, str]) -> Problem | None:
        bundle, image = request.bundle, self.image_of(name)
        if name in busy:
            return Problem(f"is being upgraded already, by {busy[name]}", "wait for it, or cancel it", key=name)
        if image is None:
            remedy = "only a machine that was installed from an image is upgraded so"
            return Problem("runs from no image, as far as it ever said", remedy, key=name)
        if image.compatible != bundle.compatible:
            return Problem(f"is {image.compatible}, the bundle is for {bundle.compatible}", "", key=name)
        if role != bundle.role:
            return Problem(f"is of role {role} in the fleet document, the bundle is for {bundle.role}", "", key=name)
        if compare(bundle.version, image.version) < 0 and not request.allow_downgrade:
            later = f"runs {image.version}, which is later than {bundle.version}"
            return Problem(later, "--allow-downgrade, when that is meant", key=name)
        return None

    def _admit_canary(self, canary: str, named: list[str]) -> None:
        if canary and canary not in named:
            raise InputError("is not among those that are upgraded", where=canary, remedy=f"one of: {', '.join(named)}")
        if canary and (why := self.unavailable(canary)):
            raise RefusedError(f"{why}: it cannot go first", where=canary, remedy="choose another canary")


def _open(member: Member) -> bool:
    return member.state not in ENDED


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise RefusedError(
            "; ".join(f"{one.key} {one.rule}" for one in problems)[:500],
            where="upgrade",
            remedy=next((one.remedy for one in problems if one.remedy), "") or "name those that can be upgraded",
            problems=problems,
        )
