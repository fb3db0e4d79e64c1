"""Lawful intercept brought up as its staff would: by `nf-li`, at nodes that no NOC manages.

Keys and certificates are made at administration's node and carried to where they belong. What is configured says
nothing of anybody: points, mediation and receivers run with it for ever, and what they do depends on warrants alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from lab.interception.places import (
    ADMF,
    ADMF_USER,
    ADMF_X1_PORT,
    CHIEF,
    HI2_PORT,
    HI3_PORT,
    INTERCEPT_USER,
    MDF,
    MDF_USER,
    MDF_X1_PORT,
    OFFICERS_PORT,
    POINT_X1_PORT,
    PORTAL_PORT,
    READER,
    ROLES,
    X2X3_PORT,
    Agency,
    Point,
    Site,
)
from lab.scenarios.console import Answer, Console
from lawful_intercept.keys import write_key

_CLOCK: Final = {"assumed": True}
"""The lab's nodes have the clock of the machine that they run on, and nobody in them steers it."""
_STORE_KEY: Final = "store.key"
_must = Console.must


def nf_li(site: Site, *words: str, officer: str = "") -> Answer:
    """`nf-li WORDS` at administration's node, as an officer when one is named."""
    plan = site.plan
    seat = ("--profile", str(site.home(plan.li) / "seats" / officer)) if officer else ()
    return site.run(plan.li, "nf-li", *seat, *words)


def bring_up(site: Site) -> float:
    """Seconds that it took."""
    start = time.monotonic()
    _certificates(site)
    for agency in site.plan.agencies:
        _receiver(site, agency)
    _mediation(site)
    _administration(site)
    for point in site.plan.points:
        _point(site, point)
    _staff(site)
    for point in site.plan.points:
        _element(site, point)
    for agency in site.plan.agencies:
        _agency(site, agency)
    site.wait("every element of interception answers", lambda: answering(site), 60.0)
    return time.monotonic() - start


def is_up(site: Site) -> bool:
    """Whether `bring_up` has been done here."""
    return (site.folder(site.plan.li) / "seats").is_dir() and answering(site)


def answering(site: Site) -> bool:
    found = _must(nf_li(site, "element", "list", "--json", officer=CHIEF)).json()
    return len(found) == len(site.plan.points) + 1 and all(one["answered_at"] and not one["fault"] for one in found)


def _certificates(site: Site) -> None:
    """One authority for the operator's own links and officers, one for each agency."""
    plan = site.plan
    for name, domain in (("ca", plan.domain), *((agency.node, agency.domain) for agency in plan.agencies)):
        _must(nf_li(site, "pki", "init", str(site.home(plan.li) / name), "--domain", domain))
    for name in (ADMF, MDF, *(point.name for point in plan.points)):
        _issue(site, "ca", "element", name)
    for officer in ROLES:
        _issue(site, "ca", "officer", officer)
    for agency in plan.agencies:
        _issue(site, agency.node, "element", MDF)
        _issue(site, agency.node, "element", agency.lemf, "--ip", agency.address)
        _issue(site, agency.node, "officer", READER)


def _issue(site: Site, authority: str, who: str, name: str, *more: str) -> None:
    place = site.home(site.plan.li) / authority
    into = ("--authority", str(place), "--into", str(place / "issued" / name))
    _must(nf_li(site, "pki", "issue", who, name, *into, *more))


def _files(site: Site, authority: str, name: str, node: str, user: str = "") -> dict[str, str]:
    """The certificate carried to the node, as its settings name it."""
    source = site.folder(site.plan.li) / authority / "issued" / name
    target = site.folder(node, user) / "tls" / authority
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in source.iterdir():
        _carry(file, target / file.name)
    there = site.home(node, user) / "tls" / authority
    return {"certificate": f"{there}/{name}.pem", "key": f"{there}/{name}.key", "authority": f"{there}/ca.pem"}


def _carry(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    target.write_bytes(source.read_bytes())


def _configure(site: Site, node: str, file: str, settings: Mapping[str, Any], user: str = "") -> Path:
    """The file is there whole or not at all: what waits for it begins at once."""
    folder = site.folder(node, user)
    if not (folder / _STORE_KEY).exists():
        write_key(folder / _STORE_KEY)
    made = folder / f".{file}"
    made.touch(mode=0o600)
    whose = {"user": owner} if user and (owner := site.owned(node, user)) else {}
    made.write_text(json.dumps({**settings, **whose}))
    made.rename(folder / file)
    return site.home(node, user) / file


def _own(name: str, home: Path) -> dict[str, Any]:
    state = f"{home}/state-{name}"
    return {"name": name, "state": state, "store_key": f"file:{home}/{_STORE_KEY}", "clock": _CLOCK}


def as_user(site: Site, node: str, user: str) -> tuple[str, ...]:
    """Words before a command that is this user's, where it is another than who runs it."""
    who = site.owned(node, user)
    return ("setpriv", f"--reuid={who}", f"--regid={who}", "--clear-groups") if who else ()


def _listen(address: str, port: int) -> dict[str, Any]:
    return {"address": address, "port": port}


def _administration(site: Site) -> None:
    plan = site.plan
    tls = _files(site, "ca", ADMF, plan.li)
    settings = {
        **_own(ADMF, site.home(plan.li)),
        "officers": {"listen": _listen(plan.li_address, OFFICERS_PORT), "tls": tls},
        "x1": {"listen": _listen(plan.li_address, ADMF_X1_PORT), "tls": tls},
        "hi1": {"country": "NZ", "identifier": "svnf"},
        "linger_s": 5,
        "reconcile_s": 5,
        "keepalive_s": 5,
    }
    file = _configure(site, plan.li, "admf.yaml", settings, ADMF_USER)
    first = ("nf-li", "officer", "add", CHIEF, "--role", ROLES[CHIEF], "--config", str(file))
    _must(site.run(plan.li, *as_user(site, plan.li, ADMF_USER), *first))
    site.start(plan.li, "nf-li", "run", "admf", "--config", str(file))


def _mediation(site: Site) -> None:
    plan = site.plan
    tls = _files(site, "ca", MDF, plan.li, MDF_USER)
    links = [
        {
            "address": agency.address,
            "domain": agency.domain,
            "peer": agency.lemf,
            "tls": _files(site, agency.node, MDF, plan.li, MDF_USER),
        }
        for agency in plan.agencies
    ]
    settings = {
        **_own(MDF, site.home(plan.li, MDF_USER)),
        "listen": _listen(plan.li_address, MDF_X1_PORT),
        "tls": tls,
        "admf": {"name": ADMF, "url": f"https://{plan.li_address}:{ADMF_X1_PORT}/X1/ADMF"},
        "x2x3": {
            "listen": _listen(plan.li_address, X2X3_PORT),
            "tls": tls,
            "points": [point.name for point in plan.points],
        },
        "agencies": links,
    }
    file = _configure(site, plan.li, "mdf.yaml", settings, MDF_USER)
    site.start(plan.li, "nf-li", "run", "mdf", "--config", str(file))


def _receiver(site: Site, agency: Agency) -> None:
    tls = _files(site, agency.node, agency.lemf, agency.node)
    settings: dict[str, Any] = {
        **_own(agency.lemf, site.home(agency.node)),
        "hi2": _listen(agency.address, HI2_PORT),
        "hi3": _listen(agency.address, HI3_PORT),
        "tls": tls,
        "portal": {"listen": _listen(agency.address, PORTAL_PORT), "tls": tls},
    }
    if agency.encrypted:
        for liid in agency.liids:
            made = site.folder(site.plan.li, MDF_USER) / f"{liid}.payload"
            write_key(made)
            _carry(made, site.folder(agency.node) / made.name)
        settings["payload_keys"] = [
            {"liid": liid, "key": f"file:{site.home(agency.node)}/{liid}.payload"} for liid in agency.liids
        ]
    _files(site, agency.node, READER, agency.node)
    file = _configure(site, agency.node, "lemf.yaml", settings)
    site.start(agency.node, "nf-li", "run", "lemf", "--config", str(file))


def _point(site: Site, point: Point) -> None:
    tls = _files(site, "ca", point.name, point.node)
    settings = {
        **_own(point.name, site.home(point.node)),
        "listen": _listen(point.address, POINT_X1_PORT),
        "tls": tls,
        "admf": {"name": ADMF, "url": f"https://{site.plan.li_address}:{ADMF_X1_PORT}/X1/ADMF"},
        "delivery": {"tls": tls, "mediation": [MDF]},
        "run_dir": point.run_dir,
        "points": point.points,
    }
    file = _configure(site, point.node, "points.yaml", settings, INTERCEPT_USER)
    site.start(point.node, "nf-li", "run", "points", "--config", str(file))


def _staff(site: Site) -> None:
    """Each officer's seat; the chief gives the others their roles."""
    plan, home = site.plan, site.home(site.plan.li)
    for officer in ROLES:
        issued = home / "ca" / "issued" / officer
        files = ("--certificate", f"{issued}/{officer}.pem", "--key", f"{issued}/{officer}.key")
        where = ("--administration", ADMF, "--url", f"https://{plan.li_address}:{OFFICERS_PORT}")
        output = ("--output", str(home / "seats" / officer), "--authority", f"{issued}/ca.pem")
        _must(nf_li(site, "profile", *where, *files, *output))
    site.wait("the administration answers", lambda: nf_li(site, "status", officer=CHIEF).code == 0, 60.0)
    for officer, role in ROLES.items():
        if officer != CHIEF:
            _must(nf_li(site, "officer", "add", officer, "--role", role, officer=CHIEF))
    mediation = ("--mediation", plan.li_address, "--x2-port", str(X2X3_PORT), "--x3-port", str(X2X3_PORT))
    url = f"https://{plan.li_address}:{MDF_X1_PORT}/X1/NE"
    _must(nf_li(site, "element", "add", MDF, "--url", url, *mediation, officer=CHIEF))


def _element(site: Site, point: Point) -> None:
    url = f"https://{point.address}:{POINT_X1_PORT}/X1/NE"
    services = [word for service in point.services for word in ("--service", service)]
    _must(nf_li(site, "element", "add", point.name, "--url", url, *services, officer=CHIEF))


def _agency(site: Site, agency: Agency) -> None:
    form: dict[str, Any] = {
        "name": agency.node,
        "address": agency.address,
        "port": HI2_PORT,
        "hi2Port": HI2_PORT,
        "hi3Port": HI3_PORT,
        **agency.handover,
    }
    li = site.plan.li
    if agency.encrypted:
        form["encryption"] = {"algorithm": "aes-256-cbc", "key": f"file:{site.home(li, MDF_USER)}/{{liid}}.payload"}
    file = site.folder(li) / f"{agency.node}.form.yaml"
    file.write_text(yaml.safe_dump(form))
    _must(nf_li(site, "agency", "add", str(site.home(li) / file.name), officer=CHIEF))
