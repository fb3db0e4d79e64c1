"""Judged by others: sipp calls, scapy reads the RTP on loopback."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.layers.rtp import RTP
from scapy.sendrecv import AsyncSniffer

from lab.voice.g711 import PCMA, decode, encode
from lab.voice.phone import Phone
from lab.voice.tones import heard, tone
from tests.lab.voice.conftest import Start
from tests.support.ports import free_ports

SCENARIOS = Path(__file__).parent / "scenarios"
pytestmark = [pytest.mark.root, pytest.mark.daemon]


async def sipp(directory: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "sipp", *arguments, "-nostdin", "-trace_err", "-timeout", "120s", "-timeout_error", cwd=directory,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace")[-3000:]


@pytest.fixture(autouse=True)
def _programs(require_programs: Callable[..., None]) -> None:
    require_programs("sipp")


async def sniffing(wanted: str) -> AsyncSniffer:
    """One that has begun."""
    begun = threading.Event()
    sniffer = AsyncSniffer(iface="lo", filter=wanted, store=True, started_callback=begun.set)
    sniffer.start()
    await asyncio.to_thread(begun.wait, 60)
    return sniffer


def scenario(directory: Path) -> Path:
    """With five seconds of 1000 Hz to send."""
    (directory / "tone.raw").write_bytes(encode(PCMA, tone([1000], 5)))
    made = directory / "echo.xml"
    made.write_text((SCENARIOS / "echo.xml").read_text().replace("AUDIO", str(directory / "tone.raw")))
    return made


async def test_sipp_has_every_packet_echoed(start: Start, tmp_path: Path) -> None:
    model = await start()
    esl = await model.connect()
    await esl.command("event plain CHANNEL_HANGUP_COMPLETE")
    sniffer = await sniffing("udp")
    (port,) = free_ports(1)
    where = ["-i", "127.0.0.1", "-p", str(port), "-m", "1", "-s", "9004", f"127.0.0.1:{model.sip}"]
    code, output = await sipp(tmp_path, "-sf", str(scenario(tmp_path)), *where)
    assert code == 0, output
    over = await asyncio.wait_for(esl.event("CHANNEL_HANGUP_COMPLETE"), 60)
    await asyncio.sleep(0.2)
    packets = sniffer.stop()
    media = int(over["variable_local_media_port"])
    sent, back = [], []
    for packet in packets:
        if UDP not in packet or media not in (packet[UDP].sport, packet[UDP].dport):
            continue
        (back if packet[UDP].sport == media else sent).append(RTP(bytes(packet[UDP].payload)))
    numbers = {one.sequence for one in sent}
    assert len(numbers) > 80
    assert len({one.sequence for one in back}) >= len(numbers) - 1
    assert int(over["variable_rtp_audio_in_packet_count"]) >= len(numbers) - 1
    assert {one.payload_type for one in back} == {PCMA}
    assert len({one.sourcesync for one in back}) == 1
    samples = b"".join(bytes(one.payload) for one in sorted(back, key=lambda one: one.sequence)[-50:])
    assert heard(decode(PCMA, samples), [700, 1000]) == [1000]


async def test_calls_by_sipp_are_all_answered(start: Start, tmp_path: Path) -> None:
    model = await start()
    esl = await model.connect()
    (port,) = free_ports(1)
    where = ["-i", "127.0.0.1", "-p", str(port), "-m", "60", "-r", "20", "-s", "9004", f"127.0.0.1:{model.sip}"]
    code, output = await sipp(tmp_path, "-sn", "uac", "-d", "300", *where)
    assert code == 0, output
    await model.until(0, esl)
    assert "60 session(s) since startup" in await esl.api("status")


async def test_the_phone_calls_a_sipp_that_answers(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    serving = asyncio.ensure_future(
        sipp(tmp_path, "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-m", "1", "-rtp_echo")
    )
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{port}", codecs=(0,)) as phone:
        call = await (await phone.call("bob")).answered()
        call.media.tone(450)
        await call.hangup()
    code, output = await serving
    assert code == 0, output


async def test_telephone_events_are_those_of_rfc_4733(start: Start) -> None:
    model = await start()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"127.0.0.1:{model.sip}") as phone:
        call = await (await phone.call("9004")).answered()
        sniffer = await sniffing(f"udp src port {call.media.port}")
        call.dtmf("5#")
        while call.media.keys != "5#":
            await call.media.packets(1)
        await asyncio.sleep(0.3)
        seen = {
            RTP(bytes(one[UDP].payload)).sequence: one for one in sniffer.stop() if UDP in one
        }  # lo shows each twice
        packets = [RTP(bytes(one[UDP].payload)) for one in seen.values()]
        await call.hangup()
    events: dict[int, list[bytes]] = defaultdict(list)
    for one in packets:
        if one.payload_type == 101:
            events[one.timestamp].append(bytes(one.payload))
    assert [payloads[0][0] for payloads in events.values()] == [5, 11]
    for payloads in events.values():
        assert [bool(one[1] & 0x80) for one in payloads] == [False] * 5 + [True] * 3
        durations = [int.from_bytes(one[2:], "big") for one in payloads]
        assert durations == sorted(durations)
    assert re.fullmatch(r"[01]+", "".join(str(int(one.marker)) for one in packets))
