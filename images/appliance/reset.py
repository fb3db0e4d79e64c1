"""Factory reset and wipe: the order as a durable mark on the ESP, carried out at the next boot before data is opened.

What a reset keeps is the identity policy: both signed images, the seed without its token (serial, management network,
names of interfaces), and nothing else. The enrolment is void; a new one needs a new enrolment file. A wipe keeps the
images only, and the machine never enrols by itself again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from images.appliance.disk import Disk, own_disk
from images.appliance.places import DATA_LABEL, Places, recover, remove_durable, replace_secret, shred, write_durable
from images.appliance.system import Executor, System, program
from nf.errors import InputError, NfError

_log = logging.getLogger("nf-reset")

UNIT: Final = "nf-reset@{}.service"
"""Starting it, with the kind, is all that is needed to order one: `nf-reset@wipe.service`."""
REBOOT_AFTER_S: Final = 10
"""So that the one who ordered it hears that it was taken."""


class Kind(Enum):
    RESET = "reset"
    WIPE = "wipe"


@dataclass(frozen=True, slots=True)
class Order:
    """`by`: console, noc, or a person."""

    kind: Kind
    by: str
    at: str

    def to_bytes(self) -> bytes:
        return json.dumps({"kind": self.kind.value, "by": self.by, "at": self.at}).encode() + b"\n"


def parse(data: bytes) -> Order:
    """What the mark says. An unreadable one is a plain reset: it was written for nothing else."""
    try:
        read = json.loads(data)
        return Order(Kind(read["kind"]), str(read["by"]), str(read["at"]))
    except (ValueError, KeyError, TypeError):
        return Order(Kind.RESET, "unknown", "")


def order(
    kind: Kind, by: str, places: Places, executor: Executor, find: Callable[[], Disk] = own_disk, *, now: datetime
) -> None:
    """Write the mark, destroy the keys at once, and reboot a little later. Raises StorageError.

    From the mark on nothing takes it back; a cut at any moment leads to a boot that erases everything.
    """
    write_durable(places.reset, Order(kind, by, now.isoformat(timespec="seconds")).to_bytes())
    _log.warning("%s ordered by %s: destroying the keys", kind.value, by)
    try:
        shred(places.key_file)
        node = find().named(DATA_LABEL).node
        executor.run(program("cryptsetup", "erase", "--batch-mode", node, why="destroy the key slots"))
    except NfError as error:
        _log.warning("%s; the next boot does it", error)
    executor.run(
        program("systemd-run", "--quiet", f"--on-active={REBOOT_AFTER_S}", "systemctl", "reboot", why="reboot")
    )


def settle(places: Places) -> None:
    """After the data is gone: what is left on the ESP becomes what the order says, and the order goes last."""
    done = parse(places.reset.read_bytes())
    recover(places.esp_seed)
    if done.kind is Kind.WIPE:
        shred(places.esp_seed)
        write_durable(places.wiped, done.to_bytes())
    elif places.esp_seed.exists():
        _without_token(places)
    remove_durable(places.reset)


def _without_token(places: Places) -> None:
    from images.appliance.seed_file import strip_token

    data = places.esp_seed.read_bytes()
    stripped = strip_token(data)
    if stripped != data:
        replace_secret(places.esp_seed, stripped)


def confirmed(typed: str, serial: str) -> None:
    """The second step: the serial number, typed. Raises InputError."""
    if not serial or typed.strip() != serial:
        raise InputError(
            "this is not the serial number of this machine; nothing was changed",
            where=typed.strip()[:64],
            remedy="type the serial number exactly as it is shown",
        )


def serial_of(places: Places) -> str:
    """The machine's serial; one without is addressed as `unseeded`."""
    try:
        return (places.etc / "serial").read_text().strip() or "unseeded"
    except OSError:
        return "unseeded"


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="nf-reset: %(message)s")
    parser = argparse.ArgumentParser(prog="nf-reset")
    parser.add_argument("kind", choices=[kind.value for kind in Kind])
    parser.add_argument("--by", default="noc")
    given = parser.parse_args(arguments)
    try:
        order(Kind(given.kind), given.by, Places(), System(), now=datetime.now(UTC))
    except NfError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
