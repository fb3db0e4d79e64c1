"""The stage as a process, in a namespace of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest

from headend.multicast import rtp
from headend.multicast.receive import join_source, open_receiver
from headend.multicast.source.client import StageStatus, ask
from tests.headend.multicast.source.netlab import (
    GROUP,
    PORT,
    RECEIVER,
    SOURCE,
    Pair,
    feeding,
    in_namespace,
    namespaces,
    process,
    run,
)

pytestmark = pytest.mark.root


@asynccontextmanager
async def stage(
    pair: Pair, status: Path, rate: int, source: str = SOURCE, *more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    options = ["--listen", "127.0.0.1:6001", "--source", source, "--group", GROUP, "--port", str(PORT), *more]
    options += ["--rate", str(rate), "--status", str(status)]
    async with process(pair.head, "-m", "headend.multicast.source.stage", *options) as child:
        yield child


async def until(status: Path, done: Callable[[StageStatus], bool]) -> StageStatus:
    async with asyncio.timeout(90):
        while True:
            said = await ask(status)
            if said is not None and done(said):
                return said
            await asyncio.sleep(0.02)


SECOND, SECOND_GROUP = "10.1.0.11", "232.138.1.1"
TWICE = ("--channel", "ch1", "--dscp", "34", "--encapsulation", "rtp", "--second", f"{SECOND},{SECOND_GROUP}:{PORT}")


async def caught(pair: Pair, flows: dict[str, str], count: int) -> dict[str, list[tuple[bytes, int]]]:
    """group -> the first datagrams from its source, with their TOS octet."""

    def joined(group: str, source: str) -> socket.socket:
        sock = open_receiver(group, PORT)
        sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        join_source(sock, IPv4Address(group), IPv4Address(source), IPv4Address(RECEIVER))
        return sock

    async def read(sock: socket.socket) -> list[tuple[bytes, int]]:
        found = []
        while len(found) < count:
            arrived = asyncio.Event()
            asyncio.get_running_loop().add_reader(sock.fileno(), arrived.set)
            await arrived.wait()
            asyncio.get_running_loop().remove_reader(sock.fileno())
            data, ancillary, _, _ = sock.recvmsg(2000, 200)
            found += [(data, value[0]) for _, kind, value in ancillary if kind == 1]  # IP_TOS
        return found

    socks = {
        group: in_namespace(pair.receiver, partial(joined, group, source)).result() for group, source in flows.items()
    }
    try:
        async with asyncio.timeout(90):
            return dict(zip(socks, await asyncio.gather(*map(read, socks.values())), strict=True))
    finally:
        for sock in socks.values():
            sock.close()


async def test_a_protected_stream_is_sent_twice_with_the_same_headers(tmp_path: Path) -> None:
    with namespaces() as pair:
        run("ip", "-n", pair.head, "addr", "add", f"{SECOND}/24", "dev", "eth1")
        lives = []
        for _ in range(2):
            async with stage(pair, tmp_path / "s", 2_000_000, SOURCE, *TWICE), feeding(pair.head, 6001):
                found = await caught(pair, {GROUP: SOURCE, SECOND_GROUP: SECOND}, 40)
                said = await until(tmp_path / "s", lambda said: True)
            assert said.second is not None
            assert said.second.datagrams > 0
            assert {tos for packets in found.values() for _, tos in packets} == {34 << 2}
            first, second = (
                {rtp.parse(data).header.sequence: data for data, _ in found[g]} for g in (GROUP, SECOND_GROUP)
            )
            both = first.keys() & second.keys()
            assert len(both) >= 20
            assert all(first[number] == second[number] for number in both)
            packets = [rtp.parse(data) for data, _ in found[GROUP]]
            assert all(data[12] == 0x47 and len(data) == 12 + 7 * 188 for data in first.values())
            steps = [(b.header.sequence - a.header.sequence) & 0xFFFF for a, b in pairwise(packets)]
            assert set(steps) == {1}
            assert all(0 < (b.header.timestamp - a.header.timestamp) % (1 << 32) < 90_000 for a, b in pairwise(packets))
            lives.append(packets[0].header)
        assert lives[0].ssrc == lives[1].ssrc == rtp.stable_ssrc("ch1/")
        assert lives[0].timestamp != lives[1].timestamp


async def test_a_second_flow_that_cannot_leave_does_not_disturb_the_first(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with stage(pair, tmp_path / "s", 2_000_000, SOURCE, *TWICE), feeding(pair.head, 6001):
            said = await until(tmp_path / "s", lambda said: said.source.packets >= 300)
            assert (said.send_errors, said.source.continuity_errors) == (0, 0)
            assert said.contribution.packets == said.source.packets
            assert said.second is not None
            assert said.second.datagrams == 0
            assert "assign" in said.second.last_send_error
            run("ip", "-n", pair.head, "addr", "add", f"{SECOND}/24", "dev", "eth1")
            said = await until(tmp_path / "s", lambda said: said.second is not None and said.second.datagrams > 0)
            assert said.send_errors == 0


async def test_datagrams_leave_unchanged_from_the_source_address(tmp_path: Path) -> None:
    def joined() -> socket.socket:
        sock = open_receiver(GROUP, PORT)
        sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        join_source(sock, IPv4Address(GROUP), IPv4Address(SOURCE), IPv4Address(RECEIVER))
        return sock

    with namespaces() as pair:
        status = tmp_path / "deep" / "stage.sock"
        async with stage(pair, status, 2_000_000):
            await until(status, lambda said: True)
            assert status.stat().st_mode & 0o777 == 0o600
            with in_namespace(pair.receiver, joined).result() as receiver:
                sender = in_namespace(pair.head, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).result()
                with sender:
                    payload = os.urandom(1316)
                    sender.sendto(payload, ("127.0.0.1", 6001))
                arrived = asyncio.Event()
                asyncio.get_running_loop().add_reader(receiver.fileno(), arrived.set)
                async with asyncio.timeout(90):
                    await arrived.wait()
                asyncio.get_running_loop().remove_reader(receiver.fileno())
                data, ancillary, _, origin = receiver.recvmsg(2000, 200)
            assert data == payload
            assert origin[0] == SOURCE
            assert [value[0] for level, kind, value in ancillary if (level, kind) == (socket.IPPROTO_IP, 2)] == [32]
        assert not status.exists()


async def test_both_sides_are_counted_and_a_stream_below_its_rate_passes_whole(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with stage(pair, tmp_path / "s", 2_000_000), feeding(pair.head, 6001):
            said = await until(tmp_path / "s", lambda said: said.source.packets >= 700)
        assert (said.policed, said.send_errors) == (0, 0)
        assert said.contribution.packets == said.source.packets
        assert (said.contribution.continuity_errors, said.source.continuity_errors) == (0, 0)
        assert said.source.bitrate_bps > 0
        assert said.contribution.in_sync


async def test_what_exceeds_the_admitted_rate_is_dropped_and_counted(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with stage(pair, tmp_path / "s", 400_000), feeding(pair.head, 6001, interval_s=0.004):
            said = await until(tmp_path / "s", lambda said: said.policed >= 300)
        burst_bytes = 8 * 1316  # more than 200 ms at this rate
        assert said.source.bytes <= 50_000 * said.uptime_s + burst_bytes
        assert said.contribution.continuity_errors == 0
        assert said.source.continuity_errors > 0
        assert said.contribution.packets == said.source.packets + 7 * said.policed


async def test_a_link_that_is_down_is_counted_and_survived(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with stage(pair, tmp_path / "s", 2_000_000) as child, feeding(pair.head, 6001):
            await until(tmp_path / "s", lambda said: said.source.packets > 0)
            pair.unwire()
            said = await until(tmp_path / "s", lambda said: said.send_errors > 0)
            assert said.last_send_error
            pair.wire()
            await until(tmp_path / "s", lambda new: new.source.packets > said.source.packets + 70)
            assert child.returncode is None


async def test_without_its_source_address_it_ends_with_a_reason(tmp_path: Path) -> None:
    with namespaces() as pair:
        async with stage(pair, tmp_path / "s", 1_000_000, source="10.1.0.99") as child:
            assert await child.wait() == 1
