"""From nothing to an enrolled fleet: the lab up, a NOC, an operator, every appliance with its underlay."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.scenarios.console import Console, ScenarioError

HERE = Path(__file__).resolve().parent.parent
TOPOLOGY = HERE / "topologies" / "streamverse.clab.yml"
DOCUMENTS = HERE / "documents"
APPLIANCES = ("headend", "c1", "c2", "pop1", "pop2", "r1", "r2", "r3", "ue1", "ue2")
WARDEN = "/etc/nf/warden"
SECOND = "/etc/nf/second"  # another engineer: what two people have to want
# SNMP of the lab's headend devices, and who polls them.
DEVICE_CREDENTIALS = {"headend-devices": "community private"}
POLLERS = ("headend", "pop1", "pop2")
REPLICA = "/var/backups/nf/noc"
# The access key that the topology gives the origin: for a lab that nobody reaches from outside.
ORIGIN_WRITER = '{"access_key": "nf-writer", "secret_key": "lab-only-not-a-secret"}'

# Who may call, each with the password `lab-only-USER`; and what opens the media server's event socket.
VOICE_DOMAIN = "voice.streamverse.test"
CALLERS = ("alice", "bob", "carol", "dave", "erin", "frank")
TESTERS = ("test1", "test2")
MEDIA_SERVER = "lab-only-not-a-secret"

# What the NOC tells players and receivers: the line-ups name the first one as players reach it.
STEERING, SERVICE_LIST = "http://noc:7490", "http://noc:7491"
SERVICES = {
    "steering": ("address=0.0.0.0:7490",),
    "dvbi": (
        "address=0.0.0.0:7491",
        "list=tag:streamverse.test,2026:list",
        "name=StreamVerse",
        "provider=StreamVerse",
        "country=FRA",
        "scheme=http",
    ),
}

Report = Callable[[str, float], None]


def lab_up(console: Console) -> float:
    start = time.monotonic()
    console.must(console.host("lab", "up", str(TOPOLOGY), "--name", console.lab))
    return time.monotonic() - start


def noc_up(console: Console) -> float:
    """A certificate authority, the fleet document, what it tells players, its process, an engineer, and who may let
    boxes in."""
    start = time.monotonic()
    console.must(
        console.nf(
            "noc",
            "init",
            "--fleet",
            str(DOCUMENTS / "fleet.yaml"),
            "--domain",
            "streamverse.test",
            "--address",
            "noc:7443",
        )
    )
    for service, settings in SERVICES.items():
        console.must(console.nf("noc", "service", "set", service, *settings))
    noc_run(console)
    console.must(console.nf("operator", "add", "demo", "--role", "engineer", "--output", "/etc/nf/operator"))
    console.must(console.nf("operator", "add", "second", "--role", "engineer", "--output", SECOND))
    console.must(console.nf("operator", "add", "warden", "--role", "security", "--output", WARDEN))
    console.wait("the NOC answers", lambda: console.nf("appliance", "list", "--json").code == 0, 30.0)
    return time.monotonic() - start


def noc_run(console: Console) -> None:
    """The NOC's process, with its copy in a second place."""
    console.detach("noc", "nf", "noc", "run", "--replica", REPLICA)


def secrets(console: Console) -> None:
    """What an operator's vault would bring: the credentials that the line-up only names."""
    secret(console, "headend", "origin-writer", ORIGIN_WRITER)
    for appliance in POLLERS:
        for name, text in DEVICE_CREDENTIALS.items():
            secret(console, appliance, name, text)
    for appliance in ("pop1", "pop2"):
        secret(console, appliance, "voice-accounts", accounts(*CALLERS, *TESTERS))
    for appliance in ("r1", "r2"):
        secret(console, appliance, "voice-tests", accounts(*TESTERS))
    secret(console, "c1", "voice-media-server", MEDIA_SERVER)


def voice_password(user: str) -> str:
    return f"lab-only-{user}"


def accounts(*users: str) -> str:
    """Lines `user:domain:HA1`."""
    lines = (f"{user}:{VOICE_DOMAIN}" for user in users)
    digests = (
        hashlib.md5(f"{user}:{VOICE_DOMAIN}:{voice_password(user)}".encode(), usedforsecurity=False).hexdigest()
        for user in users
    )
    return "".join(f"{line}:{digest}\n" for line, digest in zip(lines, digests, strict=True))


def secret(console: Console, appliance: str, name: str, text: str) -> None:
    """Put one into the appliance's vault."""
    write = f"umask 077; mkdir -p /etc/nf/secrets && cat > /etc/nf/secrets/{name}"
    console.must(console.sh(appliance, "sh", "-c", write, stdin=text.encode()))


def enrol(console: Console, appliances: tuple[str, ...] = APPLIANCES) -> float:
    """One token for each appliance, carried to it as a technician would; then all of them on the underlay."""
    start = time.monotonic()
    secrets(console)
    for appliance in appliances:
        enrol_one(console, appliance)
    console.wait("every appliance online on the current revision", lambda: all_current(console), 60.0)
    console.wait("routes from every PoP to the source's network", lambda: routed(console), 60.0)
    return time.monotonic() - start


def enrol_one(console: Console, appliance: str) -> None:
    """A token, carried to the appliance as a technician would."""
    token = console.must(console.nf("appliance", "enroll", appliance, "--profile", WARDEN)).stdout
    console.must(console.sh(appliance, "sh", "-c", "umask 077; cat > /etc/nf/enrolment.json", stdin=token.encode()))


def appliances(console: Console) -> dict[str, dict[str, Any]]:
    listing = console.must(console.nf("appliance", "list", "--json")).json()
    return {entry["id"]: entry for entry in listing}


def all_current(console: Console) -> bool:
    return all(entry["online"] and entry["current"] for entry in appliances(console).values())


def routed(console: Console) -> bool:
    """Both equal-cost next hops towards the headend stand in the kernel of every PoP (OSPF has converged)."""
    return all(
        console.sh(pop, "ip", "route", "show", "10.1.0.0/24").stdout.count("nexthop") == 2 for pop in ("pop1", "pop2")
    )


def bring_up(console: Console, report: Report) -> None:
    """All of it; each part's seconds go to `report`."""
    report("lab", lab_up(console))
    report("noc", noc_up(console))
    report("enrol", enrol(console))


def down(console: Console) -> None:
    answer = console.host("lab", "down", console.lab)
    if answer.code != 0:
        raise ScenarioError(answer.text())
