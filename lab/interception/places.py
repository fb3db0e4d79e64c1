"""Who is where in interception's own network: points, mediation, administration, officers, agencies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from lab.native.handle import Lab
from lab.scenarios.console import Answer, Console

ADMF, MDF = "admf1", "mdf1"
OFFICERS_PORT, ADMF_X1_PORT, MDF_X1_PORT, X2X3_PORT, POINT_X1_PORT = 9443, 7443, 7444, 7446, 7801
HI2_PORT, HI3_PORT, PORTAL_PORT = 7902, 7903, 7943
CLERK, APPROVER, AUDITOR, CHIEF = "anna", "boris", "clara", "dina"
INTERCEPT_USER, ADMF_USER, MDF_USER = "nf-intercept", "nf-li", "nf-li-mdf"
USER_IDS: Final = {INTERCEPT_USER: 253, ADMF_USER: 255, MDF_USER: 256}
"""Where processes have users of their own, as images/roles/base.yaml has them; an agency's are its own matter."""
READER: Final = "rita"
"""Who reads at an agency."""
ROLES: Final = {CLERK: "clerk", APPROVER: "approver", AUDITOR: "auditor", CHIEF: "li-admin"}


@dataclass(frozen=True, slots=True)
class Point:
    """The POI of an appliance. `points`: as its settings name them; `run_dir`: where observation points listen."""

    node: str
    address: str
    points: Mapping[str, Mapping[str, Any]]
    services: tuple[str, ...]
    run_dir: str = "/run/nf"

    @property
    def name(self) -> str:
        return f"points-{self.node}"


@dataclass(frozen=True, slots=True)
class Agency:
    """A receiver, and how it wants its product (as `nf-li agency form`). `encrypted`: payloads, with keys of both."""

    node: str
    address: str
    handover: Mapping[str, Any]
    encrypted: bool = False

    @property
    def lemf(self) -> str:
        return f"lemf-{self.node}"

    @property
    def domain(self) -> str:
        return f"{self.node}.test"

    @property
    def liid(self) -> str:
        """What the operator and the agency have agreed on for their warrant."""
        return f"LIID-{self.node.upper()}"

    @property
    def liids(self) -> tuple[str, ...]:
        """All that they have agreed on before anything is ordered: there is a key for each."""
        return (self.liid, *(f"{self.liid}-{number}" for number in range(2, 6)))


@dataclass(frozen=True, slots=True)
class Plan:
    """`li`: the node of administration and mediation."""

    domain: str
    li: str
    li_address: str
    points: tuple[Point, ...]
    agencies: tuple[Agency, ...]


PLAIN: Final[Mapping[str, Any]] = {
    "authorisationCountry": "NZ",
    "deliveryCountry": "NZ",
    "operator": "svnf",
    "acknowledgements": True,
}
SEALED: Final[Mapping[str, Any]] = {
    "authorisationCountry": "FR",
    "deliveryCountry": "FR",
    "operator": "svnf",
    "element": "mdf1",
    "domainVersion": 40,
    "timeForm": "generalized",
    "integrity": {"hash": "sha-256", "pdus": 50, "afterMs": 1000},
}
REFERENCE: Final = Plan(
    domain="li.streamverse.test",
    li="li",
    li_address="10.7.0.10",
    points=(
        Point("c1", "10.7.0.1", {"core5g": {"content": "n6"}}, ("data",)),
        Point(
            "pop1",
            "10.7.0.3",
            {"sip": {"content": "media", "copies": "10.7.0.3", "address": "10.3.1.1"}, "core5g": {"content": "n6"}},
            ("voice", "data"),
        ),
        Point(
            "pop2", "10.7.0.4", {"sip": {"content": "media", "copies": "10.7.0.4", "address": "10.3.2.1"}}, ("voice",)
        ),
    ),
    agencies=(Agency("agency1", "10.7.0.21", PLAIN), Agency("agency2", "10.7.0.22", SEALED, encrypted=True)),
)
"""Of lab/topologies/streamverse.clab.yml."""


class Site(Protocol):
    """Where a plan is carried out."""

    @property
    def plan(self) -> Plan: ...

    def folder(self, node: str, user: str = "") -> Path:
        """What the node has as its home of interception, as this process reaches it; `user`: of a process of this user,
        where several have theirs."""

    def home(self, node: str, user: str = "") -> Path:
        """The same as the node's own processes name it."""

    def owned(self, node: str, user: str) -> str:
        """All that is in the home is the user's. The name of who that is there: "" where everything is one user's."""

    def run(self, node: str, *argv: str) -> Answer: ...

    def start(self, node: str, *argv: str) -> None:
        """It goes on by itself."""

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float) -> float:
        """Raises ScenarioError."""


@dataclass(frozen=True, slots=True)
class LabSite:
    """The reference network."""

    console: Console
    plan: Plan = field(default=REFERENCE)

    def folder(self, node: str, user: str = "") -> Path:
        return Lab.find(self.console.lab).folder(node) / self.home(node, user).name.removeprefix("nf-")

    def home(self, node: str, user: str = "") -> Path:
        if self._appliance(node):
            return Path("/var/lib/nf-intercept")
        return Path("/var/lib/nf-li-mdf" if user == MDF_USER else "/var/lib/nf-li")

    def owned(self, node: str, user: str) -> str:
        number, top = USER_IDS[user], self.folder(node, user)
        for path in (top, *top.rglob("*")):
            os.chown(path, number, number, follow_symlinks=False)
        return user

    def _appliance(self, node: str) -> bool:
        return any(point.node == node for point in self.plan.points)

    def run(self, node: str, *argv: str) -> Answer:
        return self.console.sh(node, *argv)

    def start(self, node: str, *argv: str) -> None:
        if not self._appliance(node):  # there the node itself starts it, when it is configured
            self.console.detach(node, *argv)

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float) -> float:
        return self.console.wait(what, ready, timeout_s)
