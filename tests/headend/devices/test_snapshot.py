"""Snapshots, history, templates, and a switch over two devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.errors import Aftermath, DeviceError
from headend.devices.history import Entry, History, entry_of
from headend.devices.modelfile import find_model
from headend.devices.snapshot import Snapshot, diff, plan_restore, restore, take
from headend.devices.switching import Move, carry_out
from headend.devices.templates import render
from headend.snmp.values import Wire
from nf.errors import InputError, NotFoundError, RefusedError, UnavailableError
from tests.headend.devices.fakes import Agent, InstantClock, device
from tests.headend.devices.test_set import FREQUENCY, LEVEL, LOCK, MODEL, ROOT, TRANSMIT


@pytest.fixture
def agent() -> Agent:
    objects: dict[str, Wire] = {
        LEVEL: -100, TRANSMIT: 1, FREQUENCY: 14_000_000, LOCK: b"Locked", f"{ROOT}.6.0": 14, f"{ROOT}.7.0": 1,
        f"{ROOT}.10.0": 3, f"{ROOT}.11.0": b"a key", f"{ROOT}.20.1.2.1": 1000, f"{ROOT}.20.1.2.10": 3000,
        f"{ROOT}.20.1.2.2": 2000, f"{ROOT}.20.1.3.1": 1000, f"{ROOT}.20.1.3.2": 2000, f"{ROOT}.20.1.3.10": 3000,
    }  # fmt: skip
    return Agent(InstantClock(), objects)


async def test_a_snapshot_is_the_configuration_without_secrets(agent: Agent) -> None:
    taken = await take(device(MODEL, agent))
    assert taken.values["level"] == -10
    assert taken.values["service[10].rate"] == 3000
    assert not {"key", "lock", "clear", "service[1].actual"} & set(taken.values)
    assert "a key" not in taken.dumps()
    assert Snapshot.loads(taken.dumps()) == taken


async def test_diff_and_restore(agent: Agent) -> None:
    bent = device(MODEL, agent)
    before = await take(bent)
    agent.objects[LEVEL], agent.objects[f"{ROOT}.20.1.2.10"] = -200, 2900
    assert [(each.name, each.before, each.after) for each in diff(before, await take(bent))] == [
        ("level", -10.0, -20.0),
        ("service[10].rate", 3000, 2900),
    ]
    assert await plan_restore(bent, before) == {"level": -10.0, "service[10].rate": 3000}
    outcome = await restore(bent, before)
    assert set(outcome.changed) == {"level", "service[10].rate"}
    assert diff(before, await take(bent)) == ()
    assert (await restore(bent, before)).changed == {}


async def test_a_snapshot_of_another_model_or_with_other_rows_is_refused(agent: Agent) -> None:
    bent = device(MODEL, agent)
    taken = await take(bent)
    with pytest.raises(RefusedError, match="is of a other"):
        await plan_restore(bent, Snapshot("x", "other", 0.0, taken.values))
    with pytest.raises(InputError):
        diff(taken, Snapshot("x", "other", 0.0, {}))
    del agent.objects[f"{ROOT}.20.1.2.10"]
    with pytest.raises(RefusedError, match=r"does not have: service\[10\]\.rate"):
        await plan_restore(bent, taken)


async def test_a_device_that_does_not_answer_has_no_snapshot(agent: Agent) -> None:
    agent.silent = True
    with pytest.raises(UnavailableError):
        await take(device(MODEL, agent))


@given(st.text(max_size=200))
def test_no_text_whatsoever_breaks_the_reader(text: str) -> None:
    with pytest.raises(InputError):
        Snapshot.loads(text)


# ---- history ----


def entry(number: int) -> Entry:
    return Entry(float(number), "mux1", "eve", "done", {"level": -10.0}, {"level": number}, ("it is locked",))


def test_history_is_bounded_and_durable(tmp_path: Path) -> None:
    history = History(tmp_path / "state" / "mux1.jsonl", limit=10)
    for number in range(35):
        history.add(entry(number))
    assert history.entries() == tuple(entry(number) for number in range(25, 35))
    assert History(tmp_path / "state" / "mux1.jsonl", limit=10).entries() == history.entries()
    assert len((tmp_path / "state" / "mux1.jsonl").read_text().splitlines()) < 20


@given(st.integers(0, 400))
def test_a_torn_line_loses_itself_only(cut: int) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        path = Path(name) / "h.jsonl"
        history = History(path)
        history.add(entry(1))
        whole = path.stat().st_size
        history.add(entry(2))
        path.write_bytes(path.read_bytes()[: max(whole, path.stat().st_size - cut)])
        torn = path.stat().st_size not in (whole, whole * 2) and not path.read_bytes().endswith(b"\n")
        History(path).add(entry(3))
        kept = History(path).entries()
        assert kept[0] == entry(1)
        assert kept[-1] == entry(3)
        assert len(kept) >= 2 + (not torn and path.read_text().count("\n") == 3)


async def test_what_a_set_did_as_an_entry(agent: Agent) -> None:
    bent = device(MODEL, agent)
    outcome = await bent.set({"level": -5.0, "key": "another key"})
    done = entry_of(1.0, "dev1", "eve", outcome)
    assert (done.before["level"], done.after["level"]) == (-10.0, -5.0)
    assert "another" not in str(done)
    agent.ignore.add(LEVEL)
    with pytest.raises(DeviceError) as caught:
        await bent.set({"level": -7.0})
    failed = entry_of(2.0, "dev1", "eve", caught.value)
    assert "was set to -7.0" in failed.result
    assert failed.before == {"level": -5.0}


# ---- templates ----


def test_a_service_from_its_template() -> None:
    changes = render(
        find_model("nf-lab-mux"),
        "service",
        {"row": 3, "service_id": "1003", "name": "Channel Three", "input_port": 5003, "pid_base": 768,
         "max_bit_rate": 900_000},
    )  # fmt: skip
    assert changes["service[3].service_id"] == 1003
    assert changes["service[3].name"] == "Channel Three"
    assert changes["service[3].admin_state"] == "enabled"
    assert all(name.startswith("service[3].") for name in changes)


def test_a_template_says_what_is_missing() -> None:
    with pytest.raises(InputError) as caught:
        render(find_model("nf-lab-mux"), "service", {"row": 3, "nmae": "x"})
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["nmae", "service_id", "name", "input_port", "pid_base", "max_bit_rate"]
    assert caught.value.problems[0].remedy == "did you mean name?"
    with pytest.raises(NotFoundError, match="known: service"):
        render(find_model("nf-lab-mux"), "servise", {})


# ---- a switch over two devices ----


def two() -> tuple[Agent, Agent]:
    clock = InstantClock()
    return Agent(clock, {LEVEL: -100, TRANSMIT: 1}), Agent(clock, {LEVEL: -100, TRANSMIT: 2})


async def test_a_switch_is_proved_on_both() -> None:
    backup, main = two()
    await carry_out([Move(device(MODEL, backup), {"transmit": "on"}), Move(device(MODEL, main), {"transmit": "off"})])
    assert (backup.objects[TRANSMIT], main.objects[TRANSMIT]) == (2, 1)


async def test_a_switch_that_half_works_is_taken_back() -> None:
    backup, main = two()
    main.ignore.add(TRANSMIT)
    with pytest.raises(DeviceError, match="the switch failed") as caught:
        await carry_out(
            [Move(device(MODEL, backup), {"transmit": "on"}), Move(device(MODEL, main), {"transmit": "off"})]
        )
    assert caught.value.aftermath is Aftermath.ROLLED_BACK
    assert (backup.objects[TRANSMIT], main.objects[TRANSMIT]) == (1, 2)


async def test_a_switch_that_cannot_be_taken_back_says_where() -> None:
    backup, main = two()
    main.silent = True

    def stuck(world: Agent) -> None:
        world.ignore.add(TRANSMIT)

    backup.on_set = stuck
    with pytest.raises(DeviceError, match="not taken back: dev1") as caught:
        await carry_out(
            [Move(device(MODEL, backup), {"transmit": "on"}), Move(device(MODEL, main), {"transmit": "off"})]
        )
    assert caught.value.aftermath is Aftermath.CHANGED
