"""What was said in calls, packet by packet, and what an agency has of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.interception.places import Agency
from lab.voice.phone import Call, Phone
from lawful_intercept.configuration import load
from lawful_intercept.handover.values import DataType
from lawful_intercept.lemf.process import archive_of
from lawful_intercept.lemf.settings import LemfSettings
from tests.lawful_intercept.proof.local import LocalSite

_PATIENCE_S = 60.0
Packets = Counter[tuple[int, int]]
"""SSRC and sequence number of RTP -> how often."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Of one call, both parties' ends."""

    caller: Call
    called: Call

    @property
    def sent(self) -> dict[int, int]:
        """SSRC -> packets, as their senders count them; what came in names the stream."""
        ours, theirs = self.caller.media.stats(), self.called.media.stats()
        return {theirs.ssrc: ours.sent, ours.ssrc: theirs.sent}


async def connect(caller: Phone, called: Phone, count: int, *, talking: bool = False) -> list[Conversation]:
    """So many calls that are up and say nothing yet; `talking`: both parties do as soon as they may."""
    made = []
    for _ in range(count):
        call = await caller.call(called.user)
        call.media.source = None
        async with asyncio.timeout(_PATIENCE_S):
            other = await called.incoming()
        other.media.source = None
        await other.answer()
        await call.answered()
        made.append(Conversation(call, other))
        if talking:
            speak(made[-1:])
    return made


def speak(conversations: Sequence[Conversation]) -> None:
    for one in conversations:
        one.caller.media.tone(440)
        one.called.media.tone(700)


async def hush(conversations: Sequence[Conversation]) -> None:
    """Nobody says anything any more, and what was said has come."""
    for one in conversations:
        one.caller.media.source = one.called.media.source = None
    await asyncio.sleep(0.3)


async def hang_up(conversations: Sequence[Conversation]) -> None:
    await asyncio.gather(*(one.caller.hangup() for one in conversations))
    await asyncio.gather(*(one.called.ended() for one in conversations))


@dataclass(frozen=True, slots=True)
class Product:
    """packets   of content, by direction as HI3 tells it, in the order in which they came
    iri, cc    received, missing by their sequence numbers, again, and differing
    """

    packets: dict[str, Packets]
    iri: tuple[int, int, int, int]
    cc: tuple[int, int, int, int]
    ended: int

    @property
    def all(self) -> Packets:
        found: Packets = Counter()
        for one in self.packets.values():
            found.update(one)
        return found


def everything(site: LocalSite) -> list[bytes]:
    """PS-PDUs of all sessions at all agencies, as they came."""
    found = []
    for agency in site.plan.agencies:
        with archive_of(load(Path(site.home(agency.node)) / "lemf.yaml", LemfSettings)) as archive:
            sessions = archive.sessions(10_000, 0)
            found += [one.pdu for session in sessions for one in archive.everything(session.number)]
    return found


def product(site: LocalSite, agency: Agency, liid: str) -> Product:
    """All that the agency's receiver has under the LIID."""
    settings = load(Path(site.home(agency.node)) / "lemf.yaml", LemfSettings)
    packets: dict[str, Packets] = {}
    totals = {kind: [0, 0, 0, 0] for kind in (DataType.IRI, DataType.CC)}
    ended = 0
    with archive_of(settings) as archive:
        for session in [one for one in archive.sessions(1000, 0) if one.liid_text == liid]:
            ended += session.ended
            for stream in session.streams:
                row = (stream.received, stream.missing_count, stream.again, stream.conflicts)
                totals[stream.data_type] = [a + b for a, b in zip(totals[stream.data_type], row, strict=True)]
            for pdu in archive.pdus(session.number, DataType.CC):
                for one in pdu.cc:
                    data = one.octets
                    key = (int.from_bytes(data[8:12]), int.from_bytes(data[2:4]))
                    packets.setdefault(str(one.direction), Counter())[key] += 1
    first, second = (tuple(totals[kind]) for kind in (DataType.IRI, DataType.CC))
    return Product(packets, first, second, ended)  # type: ignore[arg-type] # four each
