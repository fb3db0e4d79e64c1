"""A channel, or session: one leg with its caller's profile, variables and media, and what it executes."""

from __future__ import annotations

import asyncio
import time
import uuid as uuids
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.voice.freeswitch import causes
from lab.voice.freeswitch.dialplan import expand
from lab.voice.freeswitch.sounds import NotFoundError, Player, Recorder, opened
from lab.voice.freeswitch.telling import accounts, channel_headers
from lab.voice.g711 import NAMES
from lab.voice.sdp import Audio

if TYPE_CHECKING:
    from lab.voice.freeswitch.core import Switch
    from lab.voice.legs import Leg, Over
    from lab.voice.media import Media

Tap = Callable[[int, bytes], None]


class MovedError(Exception):
    """What was executed goes on elsewhere: a transfer."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The caller's profile: who calls whom, and in which context that is looked up."""

    destination_number: str
    caller_id_name: str
    caller_id_number: str
    context: str
    network_addr: str
    username: str = ""
    dialplan: str = "XML"
    source: str = "mod_sofia"
    rdnis: str = ""
    ani: str = ""
    callee_id_name: str = ""
    callee_id_number: str = ""


class Channel:
    """direction: inbound, outbound. `work` is what it executes; when that ends the channel hangs up."""

    def __init__(self, switch: Switch, leg: Leg, media: Media, *, name: str, profile: Profile, direction: str) -> None:
        self.switch, self.leg, self.media = switch, leg, media
        self.name, self.profile, self.direction = name, profile, direction
        self.uuid = str(uuids.uuid4())
        self.variables: dict[str, str] = {}
        self.state, self.callstate, self.answer_state = "CS_NEW", "DOWN", "ringing"
        self.created, self.progressed, self.answered_at, self.ended_at = time.time(), 0.0, 0.0, 0.0
        self.application = self.application_data = ""
        self.peer: Channel | None = None
        self.call_uuid = self.uuid
        self.cause = ""
        self.theirs: Audio | None = None
        self.digits: asyncio.Queue[str] = asyncio.Queue()
        self.key_hook: Callable[[str], None] | None = None
        self.taps: list[Tap] = []
        self.recorders: dict[str, Recorder] = {}
        self.gone = asyncio.Event()
        self.answered = asyncio.Event()
        self.unbridged: asyncio.Event | None = None
        self.held = False
        self.divert = False
        self.work: asyncio.Task[None] | None = None
        self._player: Player | None = None
        media.source = None
        media.heard, media.keyed = self._heard, self.keyed
        leg.over = self._leg_over

    # What it knows.

    def value(self, name: str) -> str:
        """A field of the caller's profile, a variable, or a global variable; empty when there is none."""
        fields = {"uuid": self.uuid, "chan_name": self.name, "channel_name": self.name, "direction": self.direction}
        if name in fields:
            return fields[name]
        if name in Profile.__dataclass_fields__:
            return str(getattr(self.profile, name))
        return self.variables.get(name) or self.switch.registry.variables.get(name, "")

    def expanded(self, text: str) -> str:
        return expand(text, self.value, self.switch.expand_api) if "${" in text else text

    def headers(self) -> dict[str, str]:
        """Of its events."""
        return channel_headers(self)

    def fire(self, name: str, more: dict[str, str] | None = None, body: str = "") -> None:
        self.switch.fire(name, self.headers() | (more or {}), body, channel=self)

    def set_state(self, state: str) -> None:
        if self.state != state and self.state not in ("CS_HANGUP", "CS_DESTROY"):
            self.state = state
            self.fire("CHANNEL_STATE")

    def set_callstate(self, state: str) -> None:
        if self.callstate != state:
            before, self.callstate = self.callstate, state
            self.fire("CHANNEL_CALLSTATE", {"Original-Channel-Call-State": before})

    # The leg.

    @property
    def up(self) -> bool:
        return not self.cause

    @property
    def ready(self) -> bool:
        """Media flows: it is answered, or early."""
        return self.up and self.theirs is not None and bool(self.answered_at or self.progressed)

    def described(self, theirs: Audio, ours: Audio | None = None) -> None:
        """The other side's description is known: media can flow. ours: our answer, when the offer was theirs."""
        self.theirs = theirs
        codec = (ours or theirs).codecs[0]
        self.media.start(theirs, codec, theirs.events)
        said = {"read_codec": NAMES[codec], "write_codec": NAMES[codec], "read_rate": "8000", "write_rate": "8000"}
        rtp = {"remote_media_ip": theirs.host, "remote_media_port": str(theirs.port)}
        self.variables |= said | rtp | {"local_media_ip": self.media.host, "local_media_port": str(self.media.port)}

    def description(self) -> bytes:
        """Ours, for what they said; an offer when they said nothing."""
        if self.theirs is None:
            return Audio(self.media.host, self.media.port).encode(user="FreeSWITCH")
        return self.theirs.answered(self.media.host, self.media.port, codecs=(self.media.codec,)).encode(
            user="FreeSWITCH"
        )

    def ring_ready(self) -> None:
        if self.direction == "inbound" and not self.answered_at and self.up:
            self.leg.progress(180)
            self.set_callstate("RINGING")
            self.fire("CHANNEL_PROGRESS")

    def pre_answer(self) -> None:
        """Early media: 183 with a description."""
        if self.direction == "inbound" and self.up and not self.answered_at and not self.progressed:
            if self.theirs is not None:
                self.leg.progress(183, self.description())
            self.progressed = time.time()
            self.answer_state = "early"
            self.set_callstate("EARLY")
            self.fire("CHANNEL_PROGRESS_MEDIA")

    def answer(self) -> None:
        if self.direction == "inbound" and self.up and not self.answered_at:
            self.leg.accept(self.description())
            self.is_answered()

    def is_answered(self) -> None:
        """By us, or by whom we called."""
        self.answered_at = time.time()
        self.answer_state = "answered"
        self.variables["endpoint_disposition"] = "ANSWER"
        self.answered.set()
        self.set_callstate("ACTIVE")
        self.fire("CHANNEL_ANSWER")

    def hold(self, *, theirs: bool) -> None:
        """theirs: the other side's direction says that it holds, or that it does no more."""
        if theirs != self.held and self.up:
            self.held = theirs
            self.set_callstate("HELD" if theirs else "ACTIVE")
            self.fire("CHANNEL_HOLD" if theirs else "CHANNEL_UNHOLD")

    def _leg_over(self, over: Over) -> None:
        if over.local:
            return
        cause = "NORMAL_CLEARING"
        if over.method == "CANCEL":
            cause = "ORIGINATOR_CANCEL"
        elif over.method != "BYE":
            cause = causes.cause_of(over.status)
        self.variables["sip_hangup_disposition"] = "recv_bye" if over.method == "BYE" else "recv_refuse"
        self.hangup(cause)

    def hangup(self, cause: str = "NORMAL_CLEARING") -> None:
        """Once: the first cause stays."""
        if self.cause:
            return
        self.cause = cause
        self.ended_at = time.time()
        self.state, self.answer_state = "CS_HANGUP", "hangup"
        self.variables |= {"hangup_cause": cause, "hangup_cause_q850": str(min(causes.NUMBERS.get(cause, 31), 127))}
        self.fire("CHANNEL_HANGUP")
        if self.leg.state != "over":
            reason = (("reason", causes.reason_header(cause)),)
            self.variables.setdefault("sip_hangup_disposition", "send_bye" if self.answered_at else "send_refuse")
            if self.direction == "inbound" and not self.answered_at:
                self.leg.refuse(causes.sip_status(cause), "", reason)
            else:
                self.leg.hangup(headers=reason)
        self.media.close()
        for path in list(self.recorders):
            self.stop_recording(path)
        self.gone.set()
        self.unbridge()
        self.switch.ended(self)
        self.set_callstate("HANGUP")
        self.variables |= accounts(self)
        self.state = "CS_REPORTING"
        self.fire("CHANNEL_HANGUP_COMPLETE")
        self.state = "CS_DESTROY"
        self.fire("CHANNEL_DESTROY")
        if self.work is not None:
            self.work.cancel()

    # What it executes.

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """In place of what it does now, which ends first."""
        if not self.up:
            return
        before = self.work

        async def working() -> None:
            if before is not None and not before.done():
                before.cancel()
                await asyncio.wait({before})
            await work()

        self.work = asyncio.ensure_future(working())
        self.work.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), MovedError):
            self.switch.journal.critical(f"{self.name}: the model failed: {task.exception()!r}")
        if task is self.work and not task.cancelled() and not isinstance(task.exception(), MovedError):
            self.hangup()

    def transfer(self, destination: str, dialplan: str = "", context: str = "") -> None:
        """The dialplan is asked anew. Raises MovedError in what it executes now, by way of who calls."""
        dialplan, context = dialplan or self.profile.dialplan, context or self.profile.context
        self.profile = replace(self.profile, destination_number=destination, dialplan=dialplan, context=context)
        self.unbridge()
        self.start(lambda: self.switch.route(self))

    def keyed(self, key: str) -> None:
        """A key of the telephone, by RFC 4733 or by hand."""
        self.fire("DTMF", {"DTMF-Digit": key, "DTMF-Duration": "2000", "DTMF-Source": "RTP"})
        if self.key_hook is not None:
            self.key_hook(key)
        elif self.peer is not None and self.peer.up and self.peer.media.events:
            self.peer.media.dtmf(key)
        else:
            self.digits.put_nowait(key)

    def _heard(self, codec: int, payload: bytes) -> None:
        for tap in self.taps:
            tap(codec, payload)
        for path, recorder in list(self.recorders.items()):
            recorder.heard(codec, payload)
            limit = float(self.variables.get(f"record_limit_{path}", "0") or 0)
            if limit and recorder.seconds >= limit:
                self.stop_recording(path)

    def relay(self, other: Channel | None) -> None:
        """What it hears goes to the other one at once; None: to nobody."""
        self.taps = [other.media.forward] if other is not None else []
        if other is not None:
            other.media.source, other.media.relaying = None, True

    def unbridge(self) -> None:
        """Both go on alone."""
        other, self.peer = self.peer, None
        if other is None:
            return
        other.peer = None
        for one in (self, other):
            one.taps, one.media.relaying = [], False
        headers = {"Bridge-A-Unique-ID": self.uuid, "Bridge-B-Unique-ID": other.uuid}
        self.fire("CHANNEL_UNBRIDGE", headers)
        for one in (self, other):
            if one.unbridged is not None:
                one.unbridged.set()

    async def play(self, path: str, terminators: str = "") -> str:
        """Until its end, a key (which is given), or `stop_playing`. Raises NotFoundError, FILE NOT FOUND."""
        self.pre_answer()
        try:
            player = Player(opened(self.expanded(path), self.switch.folders["sounds_dir"]))
        except NotFoundError as error:
            self.switch.journal.error(f"{self.name} File [{error}] not found")
            raise
        self.fire("PLAYBACK_START", {"Playback-File-Path": path})
        before, self.media.source = self.media.source, player
        self._player = player
        key = ""
        try:
            key = await self._until(player.finished, terminators)
        finally:
            self._player = None
            if self.media.source is player:
                self.media.source = before
            if self.up:
                status = "break" if key else "done"
                self.fire("PLAYBACK_STOP", {"Playback-File-Path": path, "Playback-Status": status})
        return key

    async def _until(self, finished: asyncio.Event, terminators: str) -> str:
        """The key that ended it, one of `terminators`; others are lost then. Without terminators keys wait."""
        if not terminators:
            await finished.wait()
            return ""
        ending = asyncio.ensure_future(finished.wait())
        try:
            while not ending.done():
                key = asyncio.ensure_future(self.digits.get())
                await asyncio.wait({ending, key}, return_when=asyncio.FIRST_COMPLETED)
                if not key.done():
                    key.cancel()
                elif terminators == "any" or key.result() in terminators:
                    return key.result()
        finally:
            ending.cancel()
        return ""

    def stop_playing(self) -> None:
        if self._player is not None:
            self._player.finished.set()

    def record(self, path: str, limit: float = 0) -> None:
        """Raises OSError. limit: seconds; 0: until it is stopped."""
        self.recorders[path] = Recorder(self.switch.folders["recordings_dir"] / path)
        if limit:
            self.variables[f"record_limit_{path}"] = str(limit)
        self.fire("RECORD_START", {"Record-File-Path": path})

    def stop_recording(self, path: str) -> float | None:
        """Seconds that were recorded; None: that file was not."""
        recorder = self.recorders.pop(path, None)
        if recorder is None:
            return None
        recorder.close()
        self.variables |= {"record_seconds": str(int(recorder.seconds)), "record_ms": str(int(recorder.seconds * 1000))}
        self.fire("RECORD_STOP", {"Record-File-Path": path})
        return recorder.seconds
