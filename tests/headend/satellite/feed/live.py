"""A feed between two namespaces: `head` is the PoP, `receiver` its LAN with a set-top box and the fallback's source."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from headend.multicast.receive import drain, join_source, open_receiver, open_sender
from headend.satellite.feed.client import FeedStatus, ask
from headend.transport.packet import PACKET_SIZE, PCR_HZ, parse_packet
from tests.headend.multicast.source.netlab import RECEIVER, SOURCE, Pair, in_namespace, process

GROUP, PORT = "232.20.1.1", 5000
FALLBACK_GROUP, FALLBACK_PORT = "232.10.1.1", 5002
INPUT_PORT = 5100


def make_streams(directory: Path, seconds: int = 20) -> tuple[Path, Path]:
    """Two programmes in one transport stream, and the first of them once more with PIDs of its own."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25", "-f", "lavfi", "-i", "sine=440"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "300k", "-g", "12", "-c:a", "aac", "-b:a", "64k"]
    many, single = directory / "many.ts", directory / "single.ts"
    programs = ["-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "1:a"]
    programs += ["-program", "program_num=11:st=0:st=1", "-program", "program_num=12:st=2:st=3"]
    for arguments, target in (
        ([*programs, "-muxrate", "1500k"], many),
        (["-map", "0:v", "-map", "1:a", "-mpegts_start_pid", "0x321", "-mpegts_service_id", "5"], single),
    ):
        made = ["-t", str(seconds), *coding, *arguments, "-f", "mpegts", str(target)]
        command = ["ffmpeg", "-v", "error", *picture, *made]
        subprocess.run(command, check=True, timeout=120)
    return many, single


def _paced(path: Path) -> Iterator[tuple[float, bytes]]:
    """Datagrams of a file with the second at which each is due, by the PCRs of the first PID that has some."""
    data = path.read_bytes()
    packets = [data[i : i + PACKET_SIZE] for i in range(0, len(data), PACKET_SIZE)]
    clocks = [(number, header.pid, header.pcr) for number, header in enumerate(map(parse_packet, packets))]
    pid = next(pid for _, pid, pcr in clocks if pcr is not None)
    marks = [(number, pcr) for number, found, pcr in clocks if found == pid and pcr is not None]
    mark = 0
    for number in range(0, len(packets), 7):
        while mark + 2 < len(marks) and marks[mark + 1][0] <= number:
            mark += 1
        (first, began), (last, ended) = marks[mark], marks[mark + 1]
        pcr = began + (ended - began) * (number - first) / (last - first)
        yield (pcr - marks[0][1]) / PCR_HZ, b"".join(packets[number : number + 7])


class Player:
    """Plays a file in real time; what falls into a pause comes after it, so that nothing is lost."""

    def __init__(self, path: Path, sock: socket.socket, target: tuple[str, int]) -> None:
        self._path, self._socket, self._target = path, sock, target
        self.playing = threading.Event()
        self.playing.set()
        self.lose = 0
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began = time.monotonic()
        for due, datagram in _paced(self._path):
            if not self.playing.is_set():
                paused = time.monotonic()
                self.playing.wait()
                began += time.monotonic() - paused
            if self._stop:
                return
            time.sleep(max(0.0, began + due - time.monotonic()))
            if self.lose:
                self.lose -= 1
                continue
            try:
                self._socket.sendto(datagram, self._target)
            except ConnectionRefusedError:
                continue  # nobody listens yet

    def close(self) -> None:
        self._stop = True
        self.playing.set()
        self._thread.join()
        self._socket.close()


@contextmanager
def playing_satellite(pair: Pair, path: Path) -> Iterator[Player]:
    sock = in_namespace(pair.head, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).result()
    player = Player(path, sock, ("127.0.0.1", INPUT_PORT))
    try:
        yield player
    finally:
        player.close()


@contextmanager
def playing_fallback(pair: Pair, path: Path) -> Iterator[Player]:
    sock = in_namespace(pair.receiver, lambda: open_sender(IPv4Address(RECEIVER))).result()
    sock.setblocking(True)
    player = Player(path, sock, (FALLBACK_GROUP, FALLBACK_PORT))
    try:
        yield player
    finally:
        player.close()


class Capture:
    """What a set-top box on the LAN gets of (SOURCE, GROUP)."""

    def __init__(self, pair: Pair, group: str = GROUP) -> None:
        self.datagrams: list[bytes] = []
        self.arrivals: list[float] = []
        self._socket = in_namespace(pair.receiver, lambda: self._open(group)).result()
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    @staticmethod
    def _open(group: str) -> socket.socket:
        sock = open_receiver(group, PORT, shared=True)
        join_source(sock, IPv4Address(group), IPv4Address(SOURCE), IPv4Address(RECEIVER))
        return sock

    def _readable(self) -> None:
        drain(self._socket, time.monotonic(), self._take)
        self._came.set()

    def _take(self, datagram: bytes, arrival: float) -> None:
        self.datagrams.append(datagram)
        self.arrivals.append(arrival)

    def longest_gap_s(self) -> float:
        """Between two datagrams, by the kernel's time stamps."""
        return max(after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(90):
            while len(self.datagrams) < count:
                self._came.clear()
                await self._came.wait()

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


def carrier(**changes: Any) -> dict[str, Any]:
    """The JSON of a carrier with one service, as the driver writes it."""
    service = {
        "channel": "ch1",
        "path": "satellite",
        "service_id": 11,
        "group": GROUP,
        "port": PORT,
        "outputs": [SOURCE],
        "fallback_source": RECEIVER,
        "fallback_group": FALLBACK_GROUP,
        "fallback_port": FALLBACK_PORT,
    }
    return {
        "carrier": "c1",
        "input": "127.0.0.1",
        "input_port": INPUT_PORT,
        "transport_stream_id": 7,
        "services": [service],
    } | changes


@asynccontextmanager
async def feeding(pair: Pair, directory: Path, data: dict[str, Any]) -> AsyncIterator[Path]:
    """A running feed; its directory."""
    config = directory / "c1.json"
    config.write_text(json.dumps(data))
    place = directory / "c1"
    options = ("-m", "headend.satellite.feed", "--config", str(config), "--directory", str(place))
    options += ("--memory", str(place))
    async with process(pair.head, *options):
        await status_when(place, lambda _: True)
        yield place


async def status_when(place: Path, done: Callable[[FeedStatus], bool]) -> FeedStatus:
    async with asyncio.timeout(90):
        while True:
            status = await ask(place)
            if status is not None and done(status):
                return status
            await asyncio.sleep(0.05)  # there is nothing to wait for: it says what it is asked


def write_pcap(datagrams: list[bytes], path: Path) -> None:
    """A capture file with each datagram as UDP from SOURCE to GROUP."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228))  # LINKTYPE_IPV4
        for number, datagram in enumerate(datagrams):
            udp = struct.pack("!HHHH", 4000, PORT, 8 + len(datagram), 0) + datagram
            addresses = IPv4Address(SOURCE).packed + IPv4Address(GROUP).packed
            total = 20 + len(udp)
            ip = struct.pack("!BBHHHBBH", 0x45, 0, total, number & 0xFFFF, 0, 4, 17, 0) + addresses
            file.write(struct.pack("<IIII", number // 100, number % 100 * 10_000, total, total) + ip + udp)
