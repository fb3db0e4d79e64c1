"""What officers and agencies do, by `nf-li`: warrants with four eyes, and what a receiver has of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from lab.interception.bring_up import nf_li
from lab.interception.places import APPROVER, AUDITOR, CLERK, PORTAL_PORT, READER, Agency, Site
from lab.scenarios.console import Answer, Console

_must = Console.must
DENIED: Final = "cannot"


@dataclass(frozen=True, slots=True)
class Warrant:
    """`start`, `stop`: seconds since the epoch."""

    number: str
    agency: Agency
    start: float
    stop: float


def spelled(at: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(round(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def submit(  # noqa: PLR0917 - as the form has them
    site: Site,
    agency: Agency,
    targets: Sequence[Mapping[str, str]],
    services: Sequence[str],
    seconds: float,
    scope: str = "iri-and-cc",
    liid: str = "",
) -> Warrant:
    """The clerk's: from three seconds on from now, for so many seconds. `liid`: another than the agency's first one."""
    start = float(round(time.time()) + 3)
    stop = start + round(seconds)
    form = {
        "liid": liid or agency.liid,
        "reference": f"HC 2026/{agency.node}",
        "agency": agency.node,
        "targets": [*map(dict, targets)],
        "services": [*services],
        "scope": scope,
        "start": spelled(start),
        "stop": spelled(stop),
    }
    file = site.folder(site.plan.li) / f"{agency.node}.warrant.yaml"
    file.write_text(yaml.safe_dump(form))
    told = nf_li(site, "warrant", "submit", str(site.home(site.plan.li) / file.name), "--json", officer=CLERK)
    return Warrant(str(_must(told).json()["number"]), agency, start, stop)


def approve(site: Site, warrant: Warrant, officer: str = APPROVER) -> Answer:
    return nf_li(site, "warrant", "approve", warrant.number, "--yes", "--json", officer=officer)


def revoke(site: Site, warrant: Warrant) -> None:
    _must(nf_li(site, "warrant", "revoke", warrant.number, officer=APPROVER))


def state(site: Site, warrant: Warrant) -> str:
    shown = _must(nf_li(site, "warrant", "list", "--all", "--json", officer=CLERK)).json()
    return next((str(one["state"]) for one in shown if one["number"] == warrant.number), "")


def audit(site: Site) -> Answer:
    return nf_li(site, "audit", "verify", officer=AUDITOR)


def lemf(site: Site, agency: Agency, *words: str) -> Answer:
    """`nf-li lemf WORDS` at the agency."""
    return site.run(agency.node, "nf-li", "lemf", *words, "--config", str(site.home(agency.node) / "lemf.yaml"))


def portal(site: Site, agency: Agency, path: str, *more: str, officer: bool = True) -> Answer:
    """The page of an agency's receiver, as its reader's browser asks for it; without the certificate, if not `officer`.
    `more`: what else curl is told."""
    place = site.home(agency.node) / "tls" / agency.node
    own = ("--cert", f"{place}/{READER}.pem", "--key", f"{place}/{READER}.key") if officer else ()
    url = f"https://{agency.address}:{PORTAL_PORT}{path}"
    return site.run(agency.node, "curl", "-sS", "--fail", "--cacert", f"{place}/ca.pem", *own, *more, url)


def sessions(site: Site, agency: Agency) -> list[dict[str, Any]]:
    """What the agency's receiver has, newest first."""
    found: list[dict[str, Any]] = _must(lemf(site, agency, "sessions", "--json")).json()
    return found
