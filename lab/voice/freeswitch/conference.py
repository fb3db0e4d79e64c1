"""mod_conference: rooms that mix all who are in them, each without itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections import deque
from typing import Any

import numpy as np

from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.digits import read
from lab.voice.freeswitch.sounds import NotFoundError, Player, opened
from lab.voice.freeswitch.xmlconf import params
from lab.voice.g711 import FRAME, SILENCE, Pcm, decode, encode
from lab.voice.media import clock

WAITING = 12
"""Frames that may wait to be mixed: 240 ms of jitter; what is older is lost."""

_ids = itertools.count(1)
_SILENT: Pcm = np.zeros(FRAME, np.int16)


class Member:
    """One channel in a room; also the source of its media."""

    def __init__(self, room: Room, channel: Channel, flags: set[str]) -> None:
        self.room, self.channel, self.number = room, channel, next(_ids)
        self.muted, self.deaf, self.flags = "mute" in flags, "deaf" in flags, flags
        self.moderator = "moderator" in flags
        self.kicked = asyncio.Event()
        self.own: Pcm = _SILENT
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=WAITING)
        self._filling = True
        self._mixed: bytes | None = None

    def heard(self, codec: int, payload: bytes) -> None:
        self._waiting.append((codec, payload))

    def take(self) -> Pcm:
        """The next 20 ms that it says; silence while it is muted or nothing has come."""
        if self._filling and len(self._waiting) < 2:
            self.own = _SILENT
            return self.own
        self._filling = False
        if not self._waiting:
            self._filling = True
            self.own = _SILENT
            return self.own
        samples = decode(*self._waiting.popleft())
        self.own = samples if not self.muted and len(samples) == FRAME else _SILENT
        return self.own

    def give(self, mixed: bytes) -> None:
        self._mixed = mixed

    def frame(self, codec: int) -> bytes:
        done, self._mixed = self._mixed, None
        return done if done is not None else SILENCE[codec]


class Room:
    """One conference, while it has members."""

    def __init__(self, switch: Switch, name: str, profile: str, known: dict[str, str]) -> None:
        self.switch, self.name, self.profile, self.known = switch, name, profile, known
        self.uuid = str(uuid.uuid4())
        self.members: dict[int, Member] = {}
        self.locked = False
        self.recording: dict[str, Any] = {}
        self._player: Player | None = None
        clock().before.append(self._mix)
        self.tell("conference-create")

    def tell(self, action: str, member: Member | None = None, more: dict[str, str] | None = None) -> None:
        headers = {
            "Event-Subclass": "conference::maintenance",
            "Conference-Name": self.name,
            "Conference-Size": str(len(self.members)),
            "Conference-Ghosts": "0",
            "Conference-Profile-Name": self.profile,
            "Conference-Unique-ID": self.uuid,
        }
        if member is not None:
            headers |= {"Member-ID": str(member.number), "Member-Type": "moderator" if member.moderator else "member"}
            headers |= {"Hear": str(not member.deaf).lower(), "Speak": str(not member.muted).lower()}
            headers |= member.channel.headers()
        self.switch.fire("CUSTOM", headers | {"Action": action} | (more or {}))

    def _mix(self) -> None:
        members = list(self.members.values())
        total = np.zeros(FRAME, np.int32)
        for member in members:
            own = member.take()
            if own is not _SILENT:
                total += own
        if self._player is not None:
            played = self._player.frame(0)
            if played is None:
                self._player = None
            else:
                total += decode(0, played)
        for recorder in self.recording.values():
            recorder.write(np.clip(total, -32768, 32767).astype(np.int16))
        everything: dict[int, bytes] = {}
        for member in members:
            codec = member.channel.media.codec
            if member.deaf:
                member.give(SILENCE[codec])
            elif member.own is _SILENT:
                if codec not in everything:
                    everything[codec] = encode(codec, np.clip(total, -32768, 32767).astype(np.int16))
                member.give(everything[codec])
            else:
                member.give(encode(codec, np.clip(total - member.own, -32768, 32767).astype(np.int16)))

    def play(self, path: str) -> bool:
        """To all. False: there is no such file."""
        try:
            self._player = Player(opened(path, self.switch.folders["sounds_dir"]))
        except NotFoundError:
            return False
        self.tell("play-file", more={"File": path})
        return True

    def add(self, channel: Channel, flags: set[str]) -> Member:
        member = Member(self, channel, flags)
        self.members[member.number] = member
        channel.taps, channel.media.source, channel.media.relaying = [member.heard], member, False
        channel.key_hook = lambda key: self._keyed(member, key)
        said = {"conference_name": self.name, "conference_member_id": str(member.number), "conference_uuid": self.uuid}
        channel.variables |= said
        self.tell("add-member", member)
        if self.known.get("enter-sound"):
            self.play(self.known["enter-sound"])
        return member

    def remove(self, member: Member) -> None:
        if self.members.pop(member.number, None) is None:
            return
        channel = member.channel
        channel.taps, channel.key_hook = [], None
        if channel.media.source is member:
            channel.media.source = None
        self.tell("del-member", member)
        ends = "endconf" in member.flags and not any("endconf" in one.flags for one in self.members.values())
        for other in list(self.members.values()) if ends else []:
            other.kicked.set()
        if not self.members:
            clock().before.remove(self._mix)
            for path in list(self.recording):
                self.recording.pop(path).close()
            self.switch.conferences.pop(self.name, None)
            self.tell("conference-destroy")

    def _keyed(self, member: Member, key: str) -> None:
        self.tell("dtmf", member, {"DTMF-Key": key})
        config = self.switch.registry.configuration("conference.conf")
        group = self.known.get("caller-controls", "default")
        found = config.find(f"caller-controls/group[@name='{group}']") if config is not None else None
        for control in found.iterfind("control") if found is not None else ():
            if control.get("digits") == key:
                self._control(member, control.get("action", ""))

    def _control(self, member: Member, action: str) -> None:
        if action == "hangup":
            member.kicked.set()
        elif action == "mute":
            self.mute(member, not member.muted)
        elif action == "deaf mute":
            member.deaf = not member.deaf
            self.mute(member, member.deaf)
        elif action == "lock":
            self.locked = not self.locked

    def mute(self, member: Member, muted: bool) -> None:
        member.muted = muted
        self.tell("mute-member" if muted else "unmute-member", member)


def settings(switch: Switch, profile: str) -> dict[str, str] | None:
    config = switch.registry.configuration("conference.conf")
    found = config.find(f"profiles/profile[@name='{profile}']") if config is not None else None
    return params(found, "param") if found is not None else None


async def application(channel: Channel, data: str) -> None:
    """NAME[@PROFILE][+PIN][+flags{mute|deaf|moderator|endconf|...}]."""
    rest, _, flags = data.partition("+flags{")
    rest, _, pin = rest.partition("+")
    name, _, profile = rest.partition("@")
    profile = profile or "default"
    switch = channel.switch
    known = settings(switch, profile)
    if known is None:
        switch.journal.error(f"Invalid Profile [{profile}]")
        return
    channel.answer()
    pin = pin or known.get("pin", "")
    if pin and not await _permitted(channel, known, pin):
        return
    room: Room | None = switch.conferences.get(name)
    most = known.get("max-members", "")
    if room is not None and (room.locked or (most.isdecimal() and 0 < int(most) <= len(room.members))):
        with contextlib.suppress(NotFoundError):
            await channel.play(
                known.get("locked-sound" if room.locked else "max-members-sound", "") or "tone_stream://%(500,0,480)"
            )
        return
    if room is None:
        room = switch.conferences[name] = Room(switch, name, profile, known)
    member = room.add(channel, {one.strip() for one in flags.rstrip("}").replace(",", "|").split("|") if one.strip()})
    try:
        if len(room.members) == 1 and known.get("alone-sound"):
            room.play(known["alone-sound"])
        await member.kicked.wait()
    finally:
        room.remove(member)


async def _permitted(channel: Channel, known: dict[str, str], pin: str) -> bool:
    for _ in range(int(known.get("pin-retries") or 3)):
        sound = known.get("pin-sound", "")
        if (await read(channel, len(pin), sound, 10.0))[0] == pin:
            return True
    return False
