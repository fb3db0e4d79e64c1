"""A BROWSER-LIKE CLIENT of the lab, no browser: SIP over WebSocket, media by aiortc (ICE and DTLS-SRTP, as theirs).

As a program it tells what happens in JSON lines: `python -m lab.voice.browser --help`; exit code 1: it failed.
Nothing here is shared with `sip`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import json
import logging
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from lab.voice.sipws import RefusedError, WebSocketAgent, WebSocketCall

RATE: Final = 48_000
FRAME: Final = RATE // 50
LEVEL, PRESENT = 0.2, 0.05
"""Of full scale: of a tone that is sent, and from which one counts as heard."""
FREQUENCIES: Final = (350, 440, 500, 600, 700, 850, 1000, 1200)
_KEPT_S: Final = 1.0
TEMPORARY: Final = "Q.850;cause=41"
"""Of a Reason: a temporary failure (ITU-T Q.850), so that calling again is worth it."""


class Count:
    """Of frames; whoever wants to, waits for so many."""

    def __init__(self) -> None:
        self.frames = 0
        self._more = asyncio.Condition()

    async def add(self) -> None:
        async with self._more:
            self.frames += 1
            self._more.notify_all()

    async def reach(self, count: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: self.frames >= count)


class ToneTrack(MediaStreamTrack):
    """A tone without end, 20 ms at a time."""

    kind = "audio"

    def __init__(self, frequency: int) -> None:
        super().__init__()
        self._frequency, self._sample, self._begun = frequency, 0, 0.0
        self.count = Count()

    async def recv(self) -> AudioFrame:
        now = asyncio.get_running_loop().time()
        self._begun = self._begun or now
        await asyncio.sleep(max(0.0, self._begun + self._sample / RATE - now))
        at = (self._sample + np.arange(FRAME)) / RATE
        wave = np.sin(2 * np.pi * self._frequency * at) * LEVEL * 32767
        frame = AudioFrame.from_ndarray(wave.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sample, fractions.Fraction(1, RATE)
        self._sample += FRAME
        await self.count.add()
        return frame


class Listener:
    """Keeps the last second of what a track plays."""

    def __init__(self) -> None:
        self.count = Count()
        self._kept: deque[tuple[np.ndarray[Any, Any], int]] = deque()
        self._task: asyncio.Task[None] | None = None

    def listen(self, track: MediaStreamTrack) -> None:
        self._task = asyncio.ensure_future(self._run(track))

    async def _run(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if not isinstance(frame, AudioFrame):
                    continue
                await self.count.add()
                samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                self._kept.append((samples.astype(np.float64), frame.sample_rate))
                while sum(len(one) / rate for one, rate in self._kept) > _KEPT_S:
                    self._kept.popleft()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def hears(self, frequencies: Iterable[int]) -> list[int]:
        """By Goertzel's algorithm, one term of the transform each."""
        if not self._kept:
            return []
        rate = self._kept[-1][1]
        samples = np.concatenate([one for one, at in self._kept if at == rate])
        window = np.hanning(len(samples))
        found = []
        for one in frequencies:
            turns = np.exp(-2j * np.pi * one * np.arange(len(samples)) / rate)
            if 2 * abs(np.dot(samples * window, turns)) / (window.sum() or 1.0) / 32768 >= PRESENT:
                found.append(one)
        return found


class Media:
    """One call's: a tone out, whatever comes in. `relayed`: by the TURN server alone."""

    def __init__(self, tone: int, ice: Sequence[RTCIceServer] = (), *, relayed: bool = False) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[*ice]))
        self.listener = Listener()
        self._relayed = relayed
        self.tone = ToneTrack(tone)
        self.connection.addTrack(self.tone)
        self.connection.on("track", self.listener.listen)
        self._settled = asyncio.Event()
        self.connection.on("connectionstatechange", self._changed)

    async def offer(self) -> bytes:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self._described()

    async def answered(self, answer: bytes) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.decode(), "answer"))

    async def answer(self, offer: bytes) -> bytes:
        await self.connection.setRemoteDescription(RTCSessionDescription(offer.decode(), "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self._described()

    def _described(self) -> bytes:
        """With `relayed` the other side is told of no other way: what it sends comes by TURN."""
        lines = self.connection.localDescription.sdp.splitlines()
        if self._relayed:
            lines = [one for one in lines if not one.startswith("a=candidate:") or " typ relay" in one]
        return ("\r\n".join(lines) + "\r\n").encode()

    def _changed(self) -> None:
        if self.connection.connectionState in ("connected", "failed", "closed"):
            self._settled.set()

    async def connected(self, limit_s: float = 60.0) -> None:
        """ICE has a pair and DTLS its keys. Raises TimeoutError, ConnectionError."""
        async with asyncio.timeout(limit_s):
            await self._settled.wait()
        if self.connection.connectionState != "connected":
            raise ConnectionError(f"the connection is {self.connection.connectionState}")

    async def stats(self) -> dict[str, object]:
        report: dict[str, object] = {"frames": self.listener.count.frames}
        for one in (await self.connection.getStats()).values():
            if one.type == "inbound-rtp":
                report |= {"received": one.packetsReceived, "lost": one.packetsLost, "jitter": one.jitter}
            elif one.type == "outbound-rtp":
                report["sent"] = one.packetsSent
        for receiver in self.connection.getReceivers():
            transport = receiver.transport
            pair = next(iter(transport.transport._connection._nominated.values()), None)  # noqa: SLF001 - no public way
            report["dtls"] = transport.state
            if pair is not None:
                report["pair"] = [pair.local_candidate.type, pair.remote_candidate.type]
        return report

    async def close(self) -> None:
        await self.listener.close()
        await self.connection.close()


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.voice.browser", description="A browser-like client, of a lab.")
    parser.add_argument("--proxy", required=True, help="ws://HOST:PORT or wss://HOST:PORT")
    parser.add_argument("--user", required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--tone", type=int, default=440, help="Hz that we send")
    parser.add_argument("--turn", help="turn:HOST:PORT: media goes by it alone")
    parser.add_argument("--turn-user", default="")
    parser.add_argument("--turn-password", default="")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("register")
    for verb in (verbs.add_parser("call"), verbs.add_parser("answer")):
        if verb.prog.endswith("call"):
            verb.add_argument("target")
            verb.add_argument("--redial", action="store_true", help="once, when a temporary failure has ended the call")
        verb.add_argument("--packets", type=int, default=150, help="that come, and that go, before we measure")
        verb.add_argument("--stay", action="store_true", help="until the other side hangs up")
    return parser.parse_args(arguments)


def tell(event: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"time": round(time.time(), 3), "event": event, **more}) + "\n")
    sys.stdout.flush()


async def run(chosen: argparse.Namespace) -> int:
    ice = []
    if chosen.turn:
        ice = [RTCIceServer(urls=chosen.turn, username=chosen.turn_user, credential=chosen.turn_password)]
    async with WebSocketAgent(chosen.proxy, chosen.user, chosen.domain, chosen.password) as agent:
        try:
            await agent.register()
            tell("registered")
            if chosen.verb == "register":
                return 0
            again = getattr(chosen, "redial", False)
            while await _talk(agent, ice, chosen, stay=again or chosen.stay) and again:
                again = False
                tell("redialling")
        except RefusedError as error:
            tell("refused", status=error.status, reason=error.reason)
            return 1
        return 0


async def _talk(agent: WebSocketAgent, ice: Sequence[RTCIceServer], chosen: argparse.Namespace, *, stay: bool) -> bool:
    """One call, with a connection of its own. Whether a temporary failure has ended it."""
    media = Media(chosen.tone, ice, relayed=bool(chosen.turn))
    try:
        if chosen.verb == "call":
            offer = await media.offer()
            tell("offered", sdp=offer.decode())
            call = await agent.invite(chosen.target, offer)
            await media.answered(call.answer)
            tell("answered", sdp=call.answer.decode(), call=call.call_id)
        else:
            call = await agent.incoming.get()
            tell("ringing", sdp=call.offer.decode())
            answer = await media.answer(call.offer)
            await call.accept(answer)
            tell("answered", sdp=answer.decode(), call=call.call_id)
        await media.connected()
        tell("connected")
        await _measure(call, media, chosen.packets, chosen.tone)
        if stay:
            await call.ended.wait()
            tell("ended", media=await media.stats(), reason=call.reason)
        await call.hangup()
        tell("over")
        return TEMPORARY in call.reason
    finally:
        await media.close()


async def _measure(call: WebSocketCall, media: Media, packets: int, tone: int) -> None:
    """Told once so many packets have come, and gone."""
    both = (media.listener.count.reach(packets), media.tone.count.reach(packets + 5))
    heard = asyncio.gather(*both)
    ended = asyncio.ensure_future(call.ended.wait())
    await asyncio.wait((heard, ended), timeout=60, return_when=asyncio.FIRST_COMPLETED)
    heard.cancel()
    ended.cancel()
    tell("measured", media=await media.stats(), hears=media.listener.hears(sorted({*FREQUENCIES, tone})))


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    sys.exit(asyncio.run(run(options())))


if __name__ == "__main__":
    main()
