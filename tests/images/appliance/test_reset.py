"""Orders to forget everything: written first, confirmed twice, the keys gone before anybody hears of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.appliance import reset
from images.appliance.disk import Disk, Partition
from images.appliance.places import Places, write_durable
from images.appliance.system import Program
from images.appliance.wipe import CODE_S, Wipe
from nf.clock import VirtualClock
from nf.errors import DriverError, InputError, NotFoundError, RefusedError

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Recorder:
    def __init__(self, broken: str = "") -> None:
        self.ran: list[str] = []
        self._broken = broken

    def run(self, program: Program) -> bytes:
        self.ran.append(str(program))
        if self._broken and self._broken in program.argv:
            raise DriverError("broken", where=program.argv[0])
        return b""


def _disk() -> Disk:
    return Disk(Path("/dev/vda"), 1 << 30, (Partition(Path("/dev/vda6"), 6, "data", 0, 1 << 20),))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path)
    (made.esp / "nf").mkdir(parents=True)
    return made


def test_the_mark_comes_first_then_the_keys_then_the_reboot(places: Places) -> None:
    write_durable(places.key_file, b"k" * 64)
    seen: list[bool] = []

    class Watching(Recorder):
        def run(self, program: Program) -> bytes:
            seen.append(places.reset.exists() and not places.key_file.exists())
            return super().run(program)

    executor = Watching()
    reset.order(reset.Kind.RESET, "console", places, executor, _disk, now=_NOW)
    assert seen == [True, True]
    assert executor.ran[0] == "cryptsetup erase --batch-mode /dev/vda6"
    assert executor.ran[1].endswith("systemctl reboot")
    assert reset.parse(places.reset.read_bytes()) == reset.Order(reset.Kind.RESET, "console", _NOW.isoformat())


def test_an_order_stands_when_the_keys_cannot_be_destroyed_now(places: Places) -> None:
    executor = Recorder("erase")
    reset.order(reset.Kind.WIPE, "noc", places, executor, _disk, now=_NOW)
    assert places.reset.exists()
    assert executor.ran[-1].endswith("systemctl reboot")

    def nowhere() -> Disk:
        raise NotFoundError("no disk")

    reset.order(reset.Kind.WIPE, "noc", places, executor, nowhere, now=_NOW)
    assert executor.ran[-1].endswith("systemctl reboot")


@given(st.binary(max_size=200))
def test_whatever_the_mark_holds_it_is_an_order(data: bytes) -> None:
    assert reset.parse(data).kind in reset.Kind


@pytest.mark.parametrize("typed", ["", "sn1", "SN1 x", "unseeded"])
def test_a_serial_that_is_not_typed_exactly_confirms_nothing(typed: str) -> None:
    with pytest.raises(InputError):
        reset.confirmed(typed, "SN1")
    reset.confirmed(" SN1 ", "SN1")


def test_a_machine_without_identity_can_be_reset_too(places: Places) -> None:
    assert reset.serial_of(places) == "unseeded"
    reset.confirmed("unseeded", reset.serial_of(places))


# ---- ordered by the NOC ----


class Ordered:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.executor = Recorder()
        self.wipe = Wipe(self.clock, self.executor)

    async def code(self) -> str:
        return str((await self.wipe.order(""))["code"])


async def test_two_steps() -> None:
    ordered = Ordered()
    first = await ordered.wipe.order("")
    assert first["wiped"] is False
    assert ordered.executor.ran == []
    done = await ordered.wipe.order(str(first["code"]).lower())
    assert done["wiped"] is True
    assert ordered.executor.ran == ["systemctl start nf-reset@wipe.service"]


async def test_a_code_is_tried_once() -> None:
    ordered = Ordered()
    code = await ordered.code()
    for wrong in ("ÄÖÜ", "AAAAAAAA", code):
        with pytest.raises(RefusedError):
            await ordered.wipe.order(wrong)
    assert ordered.executor.ran == []


async def test_a_code_grows_old_and_only_the_last_one_counts() -> None:
    ordered = Ordered()
    code = await ordered.code()
    await ordered.clock.advance(CODE_S + 1)
    with pytest.raises(RefusedError):
        await ordered.wipe.order(code)
    first, second = await ordered.code(), await ordered.code()
    with pytest.raises(RefusedError):
        await ordered.wipe.order(first)
    with pytest.raises(RefusedError):
        await ordered.wipe.order(second)


def test_the_mark_is_plain(places: Places) -> None:
    assert json.loads(reset.Order(reset.Kind.WIPE, "noc", "now").to_bytes())["kind"] == "wipe"
