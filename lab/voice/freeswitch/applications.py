"""Applications of mod_dptools and of the modules beside it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from lab.voice.freeswitch import bridging, causes, conference, digits, voicemail
from lab.voice.freeswitch.channel import Channel, MovedError
from lab.voice.freeswitch.core import Application, Switch
from lab.voice.freeswitch.dialplan import expand
from lab.voice.freeswitch.sounds import NotFoundError


async def _answer(channel: Channel, _data: str) -> None:
    channel.answer()


async def _pre_answer(channel: Channel, _data: str) -> None:
    channel.pre_answer()


async def _ring_ready(channel: Channel, _data: str) -> None:
    channel.ring_ready()


async def _hangup(channel: Channel, data: str) -> None:
    channel.hangup(data if data in causes.NUMBERS else "NORMAL_CLEARING")


async def _respond(channel: Channel, data: str) -> None:
    status, _, reason = data.partition(" ")
    if status.isdecimal() and int(status) >= 300 and not channel.answered_at:
        channel.leg.refuse(int(status), reason)
        channel.hangup(causes.cause_of(int(status)))


async def _sleep(channel: Channel, data: str) -> None:
    channel.pre_answer() if channel.variables.get("sleep_eat_digits") else None
    await asyncio.sleep(int(data) / 1000 if data.isdecimal() else 0)


async def _set(channel: Channel, data: str) -> None:
    name, _, value = data.partition("=")
    if value == "_undef_" or not value:
        channel.variables.pop(name, None)
    else:
        channel.variables[name] = value


async def _export(channel: Channel, data: str) -> None:
    await _set(channel, data.removeprefix("nolocal:"))
    known = [one for one in channel.variables.get("export_vars", "").split(",") if one]
    channel.variables["export_vars"] = ",".join([*known, data.removeprefix("nolocal:").partition("=")[0]])


async def _multiset(channel: Channel, data: str) -> None:
    parts = data[3:].split(data[2]) if data.startswith("^^") and len(data) > 3 else data.split(" ")
    for one in parts:
        await _set(channel, one)


async def _unset(channel: Channel, data: str) -> None:
    channel.variables.pop(data, None)


async def _set_global(channel: Channel, data: str) -> None:
    name, _, value = data.partition("=")
    channel.switch.registry.variables[name] = value


async def _log(channel: Channel, data: str) -> None:
    level, _, text = data.partition(" ")
    channel.switch.journal.write(
        level.upper() if level.upper() in ("CRIT", "ERR", "WARNING", "NOTICE", "INFO") else "DEBUG", text
    )


async def _info(channel: Channel, _data: str) -> None:
    lines = "\n".join(f"{name}: [{value}]" for name, value in channel.headers().items())
    channel.switch.journal.info(f"CHANNEL_DATA:\n{lines}")


async def _playback(channel: Channel, data: str) -> None:
    terminators = channel.variables.get("playback_terminators", "*")
    try:
        key = await channel.play(data, "" if terminators == "none" else terminators)
    except NotFoundError:
        channel.variables["current_application_response"] = "FILE NOT FOUND"
        return
    channel.variables |= {"playback_terminator_used": key, "current_application_response": "FILE PLAYED"}


async def _endless(channel: Channel, data: str) -> None:
    with contextlib.suppress(NotFoundError):
        while channel.up:
            await channel.play(data)


async def _gentones(channel: Channel, data: str) -> None:
    tones, _, loops = data.partition("|")
    await _playback(channel, f"tone_stream://{tones};loops={loops or 1}")


async def _echo(channel: Channel, _data: str) -> None:
    """Each packet goes back as it comes, keys too."""
    channel.answer()
    channel.relay(channel)
    channel.key_hook = channel.media.dtmf if channel.media.events else None
    try:
        await channel.gone.wait()
    finally:
        channel.taps, channel.key_hook, channel.media.relaying = [], None, False


async def _park(channel: Channel, _data: str) -> None:
    channel.set_state("CS_PARK")
    channel.fire("CHANNEL_PARK")
    try:
        await channel.gone.wait()
    finally:
        if channel.up:
            channel.fire("CHANNEL_UNPARK")


async def _transfer(channel: Channel, data: str) -> None:
    words = data.split()
    if words and words[0] in ("-bleg", "-both"):
        other, words = channel.peer, words[1:]
        if other is not None:
            other.transfer(*words[:3])
        return
    if words:
        channel.transfer(*words[:3])
        raise MovedError


async def _execute_extension(channel: Channel, data: str) -> None:
    words = data.split()
    before = channel.profile
    context = words[2] if len(words) > 2 else before.context
    channel.profile = replace(before, destination_number=words[0], context=context)
    try:
        await channel.switch.route(channel)
    finally:
        channel.profile = before


async def _record(channel: Channel, data: str) -> None:
    """PATH [SECONDS [THRESHOLD [SILENCE]]]."""
    words = data.split()
    channel.pre_answer()
    limit = float(words[1]) if len(words) > 1 and words[1].isdecimal() else 3600.0
    silence = float(words[3]) if len(words) > 3 and words[3].isdecimal() else 0.0
    terminators = channel.variables.get("playback_terminators", "*")
    await voicemail.record(channel, words[0], limit, silence, "" if terminators == "none" else terminators)


async def _record_session(channel: Channel, data: str) -> None:
    path, _, limit = data.partition(" ")
    channel.record(path, float(limit.removeprefix("+")) if limit else 0)


async def _stop_record_session(channel: Channel, data: str) -> None:
    for path in list(channel.recorders) if data == "all" else [data]:
        channel.stop_recording(path)


async def _send_dtmf(channel: Channel, data: str) -> None:
    if channel.media.events:
        channel.media.dtmf(data.partition("@")[0])


async def _flush_dtmf(channel: Channel, _data: str) -> None:
    while not channel.digits.empty():
        channel.digits.get_nowait()


async def _event(channel: Channel, data: str) -> None:
    pairs = dict(one.split("=", 1) for one in data.split(",") if "=" in one)
    channel.fire(pairs.pop("Event-Name", "CHANNEL_APPLICATION"), pairs)


async def _eval(channel: Channel, data: str) -> None:
    expand(data, channel.value, channel.switch.expand_api)


async def _nothing(_channel: Channel, _data: str) -> None:
    """Taken, and without effect in the model: codec preferences, jitter buffers, schedules of the real one."""


_DPTOOLS: dict[str, Application] = {
    "answer": _answer, "pre_answer": _pre_answer, "ring_ready": _ring_ready, "hangup": _hangup, "respond": _respond,
    "sleep": _sleep, "set": _set, "export": _export, "multiset": _multiset, "unset": _unset, "log": _log,
    "set_global": _set_global, "info": _info, "playback": _playback, "endless_playback": _endless,
    "gentones": _gentones, "echo": _echo, "park": _park, "transfer": _transfer, "read": digits.read_application,
    "execute_extension": _execute_extension, "record": _record, "record_session": _record_session,
    "stop_record_session": _stop_record_session, "send_dtmf": _send_dtmf, "flush_dtmf": _flush_dtmf,
    "event": _event, "eval": _eval, "bridge": bridging.bridge_application,
    "play_and_get_digits": digits.play_and_get_digits, "ivr": digits.ivr, "start_dtmf": _nothing,
    "jitterbuffer": _nothing, "set_audio_level": _nothing, "limit": _nothing, "sched_hangup": _nothing,
    "rtp_keepalive": _nothing, "acknowledge_call": _nothing, "media_reset": _nothing, "set_user": _nothing,
}  # fmt: skip


def install(switch: Switch) -> None:
    """Those of modules that are not loaded are there all the same, and refused when they are executed."""
    switch.applications |= {name: ("mod_dptools", one) for name, one in _DPTOOLS.items()}
    switch.applications["conference"] = ("mod_conference", conference.application)
    switch.applications["voicemail"] = ("mod_voicemail", voicemail.application)
