"""mod_voicemail: messages are WAV files under the storage folder, and one JSON file of a box says what they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.digits import read
from lab.voice.freeswitch.sounds import NotFoundError
from lab.voice.freeswitch.xmlconf import params

BEEP = "tone_stream://%(1000, 0, 640)"


@dataclass(slots=True)
class Kept:
    """One message."""

    uuid: str
    file: str
    caller_name: str
    caller_number: str
    created: int
    seconds: int
    read: bool = False


class Box:
    """A user's messages in one profile."""

    def __init__(self, switch: Switch, profile: str, domain: str, user: str) -> None:
        self.directory = switch.folders["storage_dir"] / "voicemail" / profile / domain / user
        self._index = self.directory / "messages.json"

    def messages(self) -> list[Kept]:
        try:
            return [Kept(**one) for one in json.loads(self._index.read_text())]
        except FileNotFoundError:
            return []

    def keep(self, messages: list[Kept]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._index.write_text(json.dumps([asdict(one) for one in messages], indent=1))


def settings(switch: Switch, profile: str) -> dict[str, str] | None:
    config = switch.registry.configuration("voicemail.conf")
    found = config.find(f"profiles/profile[@name='{profile}']") if config is not None else None
    return params(found, "param") if found is not None else None


async def application(channel: Channel, data: str) -> None:
    """[check] [auth] PROFILE DOMAIN [USER]."""
    words = channel.expanded(data).split()
    checking, authorized = "check" in words[:2], "auth" in words[:2]
    words = [one for one in words if one not in ("check", "auth")]
    known = settings(channel.switch, words[0]) if words else None
    if known is None or len(words) < 2:
        channel.switch.journal.error(f"{channel.name} voicemail: no such profile: {data}")
        return
    channel.answer()
    if checking:
        await _check(channel, known, words, authorized=authorized)
    elif len(words) < 3:
        channel.switch.journal.error(f"{channel.name} voicemail: whose box? {data}")
    else:
        await _leave(channel, known, words[0], words[1], words[2])


async def _leave(channel: Channel, known: dict[str, str], profile: str, domain: str, user: str) -> None:
    switch = channel.switch
    if switch.registry.user(user, domain) is None:
        switch.journal.warning(f"can't find user [{user}@{domain}]")
        return
    box = Box(switch, profile, domain, user)
    name = str(uuid.uuid4())
    path = box.directory / f"msg_{name}.{known.get('file-extension', 'wav')}"
    greeting = box.directory / "greeting.wav"
    with contextlib.suppress(NotFoundError):
        if greeting.exists():
            await channel.play(str(greeting), "#")
        await channel.play(known.get("tone-spec") or BEEP, "#")
    seconds = await record(channel, str(path), float(known.get("max-record-len") or 300), _silence(known))
    if seconds < float(known.get("min-record-len") or 3):
        with contextlib.suppress(OSError):
            Path(path).unlink()  # noqa: ASYNC240 - one short file
        return
    caller = channel.profile
    kept = Kept(name, str(path), caller.caller_id_name, caller.caller_id_number, int(time.time()), int(seconds))
    box.keep([*box.messages(), kept])
    headers = {"VM-Action": "leave-message", "VM-User": user, "VM-Domain": domain, "VM-UUID": name}
    headers |= {"VM-File-Path": str(path), "VM-Message-Len": str(kept.seconds), "VM-Timestamp": str(kept.created)}
    headers |= {"VM-Caller-ID-Name": kept.caller_name, "VM-Caller-ID-Number": kept.caller_number}
    switch.fire("CUSTOM", {"Event-Subclass": "vm::maintenance", **headers})
    waiting(switch, profile, domain, user)


def _silence(known: dict[str, str]) -> float:
    return float(known.get("record-silence-hits") or 0) / 50  # a hit is a frame


def waiting(switch: Switch, profile: str, domain: str, user: str) -> None:
    """MESSAGE_WAITING says how many there are."""
    messages = Box(switch, profile, domain, user).messages()
    new = sum(not one.read for one in messages)
    account = f"{user}@{domain}"
    said = {"MWI-Messages-Waiting": "yes" if new else "no", "MWI-Message-Account": account}
    switch.fire("MESSAGE_WAITING", said | {"MWI-Voice-Message": f"{new}/{len(messages) - new} (0/0)"})


async def record(channel: Channel, path: str, limit: float, silence: float = 0, terminators: str = "#*") -> float:
    """Until the limit, that much silence, a terminator, or the end of the call; seconds that were recorded."""
    try:
        channel.record(path)
    except OSError as error:
        channel.switch.journal.error(f"{channel.name} Could not open {path}: {error}")
        return 0.0
    recorder = channel.recorders[path]
    ending = asyncio.get_running_loop().time() + limit
    try:
        while channel.up and asyncio.get_running_loop().time() < ending:
            with contextlib.suppress(TimeoutError):
                if await asyncio.wait_for(channel.digits.get(), 0.1) in terminators:
                    break
            if silence and recorder.quiet >= silence:
                break
    except asyncio.CancelledError:
        if channel.up:
            raise  # else the caller hung up: the message is kept all the same
    channel.stop_recording(path)
    return recorder.seconds


async def _check(channel: Channel, known: dict[str, str], words: list[str], *, authorized: bool) -> None:
    """1 plays the new messages, 7 deletes the one that was heard, # leaves."""
    switch = channel.switch
    user = words[2] if len(words) > 2 else (await read(channel, 16, "", 5.0))[0]
    found = switch.registry.user(user, words[1])
    if found is None:
        switch.journal.warning(f"can't find user [{user}@{words[1]}]")
        return
    password = found[0].get("vm-password") or found[0].get("password", "")
    for _ in range(int(known.get("max-login-attempts") or 3)):
        if authorized or channel.variables.get("voicemail_authorized") == "true":
            break
        authorized = (await read(channel, 16, BEEP, float(known.get("digit-timeout") or 10_000) / 1000))[0] == password
    else:
        return
    box = Box(switch, words[0], words[1], user)
    for message in box.messages():
        if message.read:
            continue
        key = ""
        with contextlib.suppress(NotFoundError):
            key = await channel.play(message.file, "7#")
        remaining = [one for one in box.messages() if not (one.uuid == message.uuid and key == "7")]
        for one in remaining:
            one.read = one.read or one.uuid == message.uuid
        box.keep(remaining)
        waiting(switch, words[0], words[1], user)
        if key == "#":
            break
