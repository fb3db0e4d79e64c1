"""What any device of NF-LAB-MIB must do, told by its SNMP agent alone: a simulator, or a real device of the same MIB.

    NF_DEVICE_ADDRESS=192.0.2.7:161 NF_DEVICE_WRITE=private pytest tests/lab/devices/test_conformance.py

runs it against that device, and nothing is set there but what already holds. The tools are net-snmp's.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.lab.devices.mib import ARC, Object, parsed

KINDS = {1: "Enc", 2: "Mux Svc", 3: "Mod", 4: "Rcv"}
COMMANDS = ("nfLabSysRebootCommand", "nfLabModCommit")
SHOWN = {
    "integer": {"INTEGER"},
    "unsigned": {"Gauge32", "UInteger32"},
    "gauge": {"Gauge32"},
    "counter32": {"Counter32"},
    "counter64": {"Counter64"},
    "timeticks": {"Timeticks"},
    "text": {"STRING", '""'},
    "octets": {"STRING", "Hex-STRING", '""'},
    "ipaddress": {"IpAddress"},
}
SET_AS = {"integer": "i", "unsigned": "u", "text": "s", "octets": "x", "ipaddress": "a"}
_NUMBERED = {"integer", "unsigned", "gauge", "counter32", "counter64"}


@dataclass(frozen=True)
class Answer:
    """One variable as net-snmp shows it; `shown` is the type's name there."""

    oid: tuple[int, ...]
    shown: str
    text: str


@dataclass(frozen=True)
class Subject:
    """A device under test."""

    address: str
    port: int
    read: str = "public"
    write: str = "private"
    home: Path = Path("/tmp")  # noqa: S108 - where net-snmp keeps what it must; tests give their own

    def get(self, *oids: str) -> list[Answer]:
        return list(_answers(self.run("snmpget", self.read, *oids).stdout))

    def value(self, name: str, row: int = 0) -> str:
        (answer,) = self.get(oid(name, row))
        return answer.text

    def number(self, name: str, row: int = 0) -> int:
        return int(self.value(name, row))

    def walk(self, below: str) -> list[Answer]:
        found = _answers(self.run("snmpbulkwalk", self.read, "-Cc", below).stdout)
        return [answer for answer in found if "No more variables" not in answer.text]  # how a bulk says its end

    def set(self, *triples: tuple[str, str, str | int], community: str = "") -> str:
        """Name of the error, empty when it was done. A triple is OID, net-snmp's letter for the type, value."""
        flat = [str(part) for triple in triples for part in triple]
        done = self.run("snmpset", community or self.write, *flat)
        if done.returncode == 0:
            return ""
        found = re.search(r"Reason: \(?(\w+)", done.stderr)
        return found.group(1) if found else done.stderr.strip()

    def run(
        self, program: str, community: str, *arguments: str, wait_s: float = 3, retries: int = 2
    ) -> subprocess.CompletedProcess[str]:
        options = ["-v2c", "-c", community, "-m", "", "-On", "-Oe", "-OU", "-Ot", "-t", str(wait_s), "-r", str(retries)]
        command = [program, *options, f"{self.address}:{self.port}", *arguments]
        environment = os.environ | {"SNMP_PERSISTENT_DIR": str(self.home), "MIBS": ""}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def oid(name: str, row: int = 0) -> str:
    """An object's OID in one row; `nfLab` may be left out."""
    return _dotted((*parsed().objects[name if name.startswith("nfLab") else f"nfLab{name}"].oid, row))


def _dotted(below: Sequence[int]) -> str:
    return "." + ".".join(map(str, (*ARC, *below)))


def _answers(text: str) -> Iterator[Answer]:
    for line in re.split(r"\n(?=\.1)", text.strip()):
        name, separator, shown = line.partition(" = ")
        if not separator:
            continue
        kind, colon, value = shown.partition(":")
        number = tuple(map(int, name.strip(".").split(".")))
        if not colon or kind not in {name for names in SHOWN.values() for name in names}:
            kind, value = ('""', "") if shown == '""' else ("none", shown)
            if re.fullmatch(r"[\d:.]+", shown):
                kind, value = "Timeticks", shown
        yield Answer(number, kind, value.strip().strip('"'))


def own_objects(subject: Subject) -> dict[str, Object]:
    """The objects that a device of this kind has."""
    kind = subject.number("SysDeviceKind")
    prefixes = tuple(f"nfLab{group}" for group in ("Sys", "Alarm", *KINDS[kind].split()))
    return {name: found for name, found in parsed().objects.items() if name.startswith(prefixes)}


def instances(subject: Subject) -> dict[tuple[int, ...], Answer]:
    """All that the device has below the MIB's arc, by OID below it."""
    return {answer.oid[len(ARC) :]: answer for answer in subject.walk(_dotted(()))}


def check_it_says_what_it_is(subject: Subject) -> None:
    description, product = subject.get(".1.3.6.1.2.1.1.1.0", ".1.3.6.1.2.1.1.2.0")
    kind = subject.number("SysDeviceKind")
    assert kind in KINDS
    assert description.text
    assert _dotted((3, kind)) in product.text


def check_a_walk_goes_up_and_ends(subject: Subject) -> None:
    found = [answer.oid for answer in subject.walk(".1")]
    assert len(found) > 20
    assert all(one < other for one, other in pairwise(found))


def check_it_has_every_object_and_no_other(subject: Subject) -> None:
    own, there = own_objects(subject), instances(subject)
    columns = {found.oid: name for name, found in own.items()}
    assert {key[:-1] for key in there} == set(columns)
    for key in there:
        assert (key[-1] > 0) == own[columns[key[:-1]]].columnar


def check_types_and_ranges(subject: Subject) -> None:
    own = {found.oid: found for found in own_objects(subject).values()}
    for key, answer in instances(subject).items():
        found = own[key[:-1]]
        assert answer.shown in SHOWN[found.syntax], answer
        low, high = found.bounds
        if found.syntax in _NUMBERED and low is not None and high is not None:
            assert low <= int(answer.text) <= high, answer


def check_what_holds_can_be_set_again(subject: Subject) -> None:
    own, there = own_objects(subject), instances(subject)
    for name, found in own.items():
        if not found.writable or name in COMMANDS:
            continue
        for key, answer in there.items():
            if key[:-1] == found.oid:
                assert subject.set((_dotted(key), SET_AS[found.syntax], answer.text)) == "", answer
                assert subject.get(_dotted(key))[0] == answer


def check_commands_read_as_idle(subject: Subject) -> None:
    for name in COMMANDS:
        if name in own_objects(subject):
            assert subject.number(name) == 1


def check_a_value_out_of_range_is_refused(subject: Subject) -> None:
    there = instances(subject)
    for found in own_objects(subject).values():
        key = next((key for key in there if key[:-1] == found.oid), None)
        if not found.writable or found.syntax not in ("integer", "unsigned") or key is None:
            continue
        assert found.bounds[1] is not None
        assert subject.set((_dotted(key), SET_AS[found.syntax], found.bounds[1] + 1)) == "wrongValue", found
        assert subject.get(_dotted(key))[0] == there[key]


def check_a_wrong_type_is_refused(subject: Subject) -> None:
    assert subject.set((oid("SysRebootCommand"), "s", "now")) == "wrongType"


def check_what_is_read_only_cannot_be_set(subject: Subject) -> None:
    assert subject.set((oid("SysModel"), "s", "other")) == "notWritable"


def check_what_there_is_not_cannot_be_made(subject: Subject) -> None:
    assert subject.set((_dotted((1, 1, 99, 0)), "i", 1)) in ("noCreation", "notWritable")


def check_a_set_is_all_or_nothing(subject: Subject) -> None:
    own, there = own_objects(subject), instances(subject)
    column, key = next(
        (found, key)
        for found in own.values()
        for key in there
        if key[:-1] == found.oid and found.writable and found.syntax == "unsigned"
    )
    before = there[key]
    low, high = column.bounds
    other = low if int(before.text) != low else high
    good, bad = (_dotted(key), "u", str(other)), (oid("SysModel"), "s", "other")
    assert subject.set(good, bad) == "notWritable"
    assert subject.get(_dotted(key))[0] == before


def check_the_read_community_sets_nothing(subject: Subject) -> None:
    assert subject.set((oid("SysRebootCommand"), "i", 1), community=subject.read) in ("noAccess", "authorizationError")


def check_what_there_is_not_is_named_so(subject: Subject) -> None:
    instance, none = subject.get(oid("SysModel", 7), _dotted((1, 1, 99, 0)))
    assert "No Such Instance" in instance.text
    assert "No Such" in none.text


CHECKS: dict[str, Callable[[Subject], None]] = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}
