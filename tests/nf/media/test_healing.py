"""Which shields are asked for content, as a table; and what the parts of healing make of what they read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nf.media.documents import Healing, Parent
from nf.media.edge.healing.control import is_down
from nf.media.edge.healing.machine import MAX_HOLDS, ShieldMachine, Shields, State
from nf.media.edge.healing.probe import probe, verdict
from nf.media.edge.healing.sockets import identity_of, messages
from nf.media.edge.healing.telemetry import DOWN, OUT, HealingWatch
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample

HOLD_S = 10.0
BAD = "it does not answer within 200 ms"


def test_two_failures_put_a_shield_out_and_it_comes_back_after_its_hold() -> None:
    machine = ShieldMachine(HOLD_S, 0.0)
    machine.probed("", 0.0)
    machine.probed(BAD, 1.0)
    assert (machine.state, machine.bad) == (State.SUSPECT, False)
    machine.probed(BAD, 1.1)
    assert (machine.state, machine.bad, machine.why) == (State.DOWN, True, BAD)
    machine.probed("", 2.0)
    assert (machine.state, machine.bad) == (State.HELD, True)
    machine.probed("", 11.9)
    assert machine.bad
    machine.probed("", 12.0)
    assert (machine.state, machine.bad) == (State.HALF_OPEN, False)
    machine.probed("", 22.0)
    assert (machine.state, machine.why) == (State.UP, "it answers")


def test_one_failure_on_probation_holds_it_twice_as_long_and_one_elsewhere_is_forgiven() -> None:
    machine = ShieldMachine(HOLD_S, 0.0, down=True)
    now = 0.0
    for holds in (1, 2, 4, 8, 8):
        assert machine.hold_s == HOLD_S * holds
        machine.probed("", now)
        machine.probed("", now := now + machine.hold_s)
        assert machine.state is State.HALF_OPEN
        machine.probed(BAD, now)
        assert machine.state is State.DOWN
    assert machine.hold_s == HOLD_S * MAX_HOLDS
    machine.probed("", now)
    machine.probed("", now := now + machine.hold_s)
    machine.probed("", now := now + machine.hold_s)
    assert (machine.state, machine.hold_s) == (State.UP, HOLD_S)
    machine.probed(BAD, now)
    machine.probed("", now)
    assert machine.state is State.UP


def test_the_last_shield_stays_and_one_that_answers_takes_its_place() -> None:
    shields = Shields(["a", "b"], HOLD_S, 0.0)
    a, b = shields.machines.values()
    for at, machine in ((1.0, a), (2.0, b)):
        machine.probed(BAD, at)
        machine.probed(BAD, at)
    assert shields.out == {"a"}, "the one that failed last had the content last"
    a.probed("", 3.0)
    assert shields.out == {"b"}, "one that answers is better than one that does not, hold or none"
    b.probed("", 4.0)
    assert len(shields.out) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0.01, 5.0)), max_size=300))
def test_whatever_probes_say_one_shield_is_asked_and_none_returns_before_its_hold(
    trace: list[tuple[str, bool, float]],
) -> None:
    shields = Shields("abc", HOLD_S, 0.0)
    now, went_bad = 0.0, dict.fromkeys("abc", 0.0)
    for name, well, pause in trace:
        now += pause
        machine = shields.machines[name]
        before = machine.bad
        machine.probed("" if well else BAD, now)
        assert len(shields.out) < len(shields.machines)
        assert shields.out <= {other for other, one in shields.machines.items() if one.bad}
        if machine.bad and not before:
            went_bad[name] = now
        if before and not machine.bad:
            assert now - went_bad[name] >= HOLD_S


def test_an_edge_of_one_shield_always_asks_it() -> None:
    shields = Shields(["a"], HOLD_S, 0.0, down=["a"])
    assert shields.out == frozenset()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n", ""),
        (b"HTTP/1.1 404 Not Found\r\n", ""),
        (b"HTTP/1.1 500 Oops\r\n", "it answers 500"),
        (b"HTTP/1.1 503\r\n", "it answers 503"),
        (b"", "it does not answer in HTTP"),
        (b"SSH-2.0-x\r\n", "it does not answer in HTTP"),
        (b"HTTP/1.1 99999 x\r\n", "it does not answer in HTTP"),
    ],
)
def test_what_an_answer_says(line: bytes, told: str) -> None:
    assert verdict(line) == told


@given(st.binary(max_size=60))
def test_no_answer_breaks_the_verdict(line: bytes) -> None:
    assert isinstance(verdict(line), str)


@asynccontextmanager
async def peer(answer: bytes | None) -> AsyncIterator[Parent]:
    """Answers everybody the same; None: takes connections and says nothing."""
    gone = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await gone.wait()
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    try:
        yield Parent(address=IPv4Address("127.0.0.1"), port=server.sockets[0].getsockname()[1])
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("answer", "timeout_ms", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 10_000, ""),
        (b"HTTP/1.1 500 Oops\r\n\r\n", 10_000, "it answers 500"),
        (b"x" * 10_000, 10_000, "it does not answer in HTTP"),
        (None, 50, "it does not answer within 50 ms"),
    ],
)
async def test_a_probe_tells_how_a_shield_fails(answer: bytes | None, timeout_ms: int, told: str) -> None:
    async with peer(answer) as parent:
        assert await probe(parent, Healing(timeout_ms=timeout_ms)) == told


async def test_a_shield_that_is_gone_refuses() -> None:
    async with peer(b"") as parent:
        pass
    assert "cannot be reached" in await probe(parent, Healing(timeout_ms=10_000))


def test_only_our_own_reason_counts() -> None:
    ours = "proxy.process.host_status.10.0.0.1 HOST_STATUS_DOWN,ACTIVE:DOWN:1795945512:0,LOCAL:UP:0:0,MANUAL:UP:0:0"
    assert is_down(ours, "10.0.0.1")
    assert not is_down(ours, "10.0.0.11")
    theirs = ours.replace("ACTIVE:DOWN", "ACTIVE:UP").replace("MANUAL:UP", "MANUAL:DOWN")
    assert not is_down(theirs, "10.0.0.1")
    assert not is_down("Traffic Server: failed to fetch 10.0.0.1: [11]", "10.0.0.1")


@given(st.binary(max_size=200))
def test_no_netlink_answer_breaks_the_reader(data: bytes) -> None:
    for _, body in messages(data):
        identity_of(body, os.getuid())


def test_alarms_are_said_once_and_end() -> None:
    watch = HealingWatch("pop1")

    def alarms(out: bool | None, wanted: bool = True) -> list[tuple[str, str, Severity]]:
        answer = None if out is None else {"shields": {"10.0.0.1": {"out": out, "why": BAD, "probes": 3, "outs": 1}}}
        events = list(watch.take(answer, 1.0, wanted=wanted))
        assert all(isinstance(event, Sample) or event.at == 1.0 for event in events)
        return [(e.cause, e.object, e.severity) for e in events if isinstance(e, AlarmEvent)]

    about = "pop1/shield/10.0.0.1"
    assert alarms(False) == [(DOWN, "pop1", Severity.CLEARED), (OUT, about, Severity.CLEARED)]
    assert alarms(True) == [(OUT, about, Severity.WARNING)]
    assert alarms(True) == []
    assert alarms(None) == [(DOWN, "pop1", Severity.MAJOR)]
    assert alarms(None, wanted=False) == [(DOWN, "pop1", Severity.CLEARED), (OUT, about, Severity.CLEARED)]


def test_a_socket_of_another_user_is_left_alone() -> None:
    body = bytes(4) + bytes(range(48)) + (0).to_bytes(4, "little") * 3 + (33).to_bytes(4, "little") + bytes(4)
    assert identity_of(body, 33) == bytes(range(48))
    assert identity_of(body, 34) is None
    assert identity_of(body[:-1], 33) is None
