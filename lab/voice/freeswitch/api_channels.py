"""API commands of channels: uuid_*, originate, show."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from lab.voice.freeswitch import bridging, control
from lab.voice.freeswitch.causes import NUMBERS
from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.events import Event
from lab.voice.freeswitch.show import show
from lab.voice.sdp import Audio, Direction, SdpError

Command = Callable[[Channel, list[str]], Awaitable[str]]
GONE = "-ERR No such channel!\n"


async def _kill(channel: Channel, words: list[str]) -> str:
    channel.hangup(words[0] if words and words[0] in NUMBERS else "NORMAL_CLEARING")
    return "+OK\n"


async def _getvar(channel: Channel, words: list[str]) -> str:
    return (channel.value(words[0]) or "_undef_") if words else "-USAGE: <uuid> <var>\n"


async def _setvar(channel: Channel, words: list[str]) -> str:
    if not words:
        return "-USAGE: <uuid> <var> [value]\n"
    if len(words) > 1:
        channel.variables[words[0]] = " ".join(words[1:])
    else:
        channel.variables.pop(words[0], None)
    return "+OK\n"


async def _setvar_multi(channel: Channel, words: list[str]) -> str:
    for one in " ".join(words).split(";"):
        name, _, value = one.partition("=")
        channel.variables[name.strip()] = value
    return "+OK\n"


async def _record(channel: Channel, words: list[str]) -> str:
    """start|stop PATH [LIMIT]; stop all."""
    if len(words) < 2:
        return "-USAGE: <uuid> [start|stop|mask|unmask] <path> [<limit>] [<recording_vars>]\n"
    action, path = words[0], words[1]
    if action == "start":
        try:
            channel.record(path, float(words[2]) if len(words) > 2 else 0)
        except OSError:
            return "-ERR Cannot record session!\n"
        return f"+OK Success {path}\n"
    paths = list(channel.recorders) if path == "all" else [path]
    if action == "stop" and paths and all(channel.stop_recording(one) is not None for one in paths):
        return f"+OK Success {path}\n"
    return "-ERR Cannot stop record session!\n"


async def _dump(channel: Channel, words: list[str]) -> str:
    event = Event("CHANNEL_DATA", {"Event-Name": "CHANNEL_DATA", **channel.headers()})
    form = words[0] if words and words[0] in ("json", "xml") else "txt"
    if form == "json":
        return json.dumps(event.headers)
    return (
        event.xml().decode() if form == "xml" else "".join(f"{key}: {value}\n" for key, value in event.headers.items())
    )


async def _broadcast(channel: Channel, words: list[str]) -> str:
    """PATH, or APPLICATION::DATA, to aleg|bleg|both."""
    if not words:
        return "-USAGE: <uuid> <path> [aleg|bleg|holdb|both]\n"
    legs = words[-1] if len(words) > 1 and words[-1] in ("aleg", "bleg", "both") else "aleg"
    text = " ".join(words[:-1] if len(words) > 1 and words[-1] in ("aleg", "bleg", "both", "holdb") else words)
    application, parted, data = text.partition("::")
    name, data = (application, data) if parted else ("playback", text)
    for one in ([channel] if legs in ("aleg", "both") else []) + ([channel.peer] if legs in ("bleg", "both") else []):
        if one is not None:
            control.message(
                one, {"call-command": "execute", "execute-app-name": name.rstrip("!"), "execute-app-arg": data}
            )
    return "+OK Message sent\n"


async def _answer(channel: Channel, _words: list[str]) -> str:
    channel.answer()
    return "+OK\n"


async def _pre_answer(channel: Channel, _words: list[str]) -> str:
    channel.pre_answer()
    return "+OK\n"


async def _break(channel: Channel, _words: list[str]) -> str:
    channel.stop_playing()
    return "+OK\n"


async def _transfer(channel: Channel, words: list[str]) -> str:
    both = words[:1] == ["-both"]
    words = words[1:] if words and words[0] in ("-bleg", "-both") else words
    if not words:
        return "-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n"
    other = channel.peer
    if both and other is not None:
        other.transfer(*words[:3])
    channel.transfer(*words[:3])
    return "+OK\n"


async def _exists_dtmf(channel: Channel, words: list[str]) -> str:
    if not words or not channel.media.events:
        return "-ERR DTMF cannot be sent\n"
    channel.media.dtmf(words[0].partition("@")[0])
    return "+OK\n"


async def _received_dtmf(channel: Channel, words: list[str]) -> str:
    for key in words[0].partition("@")[0] if words else "":
        channel.keyed(key)
    return "+OK\n"


async def _state(channel: Channel, _words: list[str]) -> str:
    return f"{channel.callstate}\n"


async def _media_stats(channel: Channel, _words: list[str]) -> str:
    found = channel.media.stats()
    channel.variables |= {
        "rtp_audio_in_packet_count": str(found.received), "rtp_audio_out_packet_count": str(found.sent),
        "rtp_audio_in_skip_packet_count": str(found.lost),
    }  # fmt: skip
    return "+OK\n"


_CHANNEL: dict[str, Command] = {
    "uuid_kill": _kill, "uuid_getvar": _getvar, "uuid_setvar": _setvar, "uuid_setvar_multi": _setvar_multi,
    "uuid_record": _record, "uuid_dump": _dump, "uuid_broadcast": _broadcast, "uuid_answer": _answer,
    "uuid_pre_answer": _pre_answer, "uuid_break": _break, "uuid_transfer": _transfer, "uuid_send_dtmf": _exists_dtmf,
    "uuid_recv_dtmf": _received_dtmf, "uuid_set_media_stats": _media_stats, "uuid_state": _state,
}  # fmt: skip


class Channels:
    """Commands that need the switch."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    def of_channel(self, command: Command) -> Callable[[str], Awaitable[str]]:
        async def run(text: str) -> str:
            words = text.split(" ") if text else []
            flags = [words.pop(0)] if words and words[0] == "-bleg" else []
            channel = self.switch.find(words[0]) if words else None
            return GONE if channel is None else await command(channel, flags + words[1:])

        return run

    async def exists(self, text: str) -> str:
        return "true" if self.switch.find(text) is not None else "false"

    async def bridge(self, text: str) -> str:
        words = text.split()
        if len(words) != 2:
            return "-USAGE: <uuid> <other_uuid>\n"
        first, second = self.switch.find(words[0]), self.switch.find(words[1])
        if first is None or second is None or first is second:
            return "-ERR Invalid uuid\n"
        if not first.ready and not second.ready:
            return "-ERR One of the channels must be answered\n"
        bridging.uuid_bridge(first, second)
        return f"+OK {words[1]}\n"

    async def hold(self, text: str) -> str:
        """[off|toggle] UUID."""
        words = text.split()
        verb = words.pop(0) if words and words[0] in ("off", "toggle") else "on"
        channel = self.switch.find(words[0]) if words else None
        if channel is None:
            return "-ERR Operation failed\n"
        holding = channel.variables.get("held_here") != "true" if verb == "toggle" else verb == "on"
        direction: Direction = "sendonly" if holding else "sendrecv"
        offer = Audio(channel.media.host, channel.media.port, (channel.media.codec,), direction=direction)
        response = await channel.leg.reinvite(offer.encode(user="FreeSWITCH"))
        if response.status >= 300:
            return "-ERR Operation failed\n"
        try:
            channel.described(Audio.parse(response.body))
        except (SdpError, IndexError):
            return "-ERR Operation failed\n"
        channel.variables["held_here"] = str(holding).lower()
        channel.fire("CHANNEL_HOLD" if holding else "CHANNEL_UNHOLD")
        return "+OK Success\n"

    async def originate(self, text: str) -> str:
        return await bridging.originate(self.switch, text)

    async def show(self, text: str) -> str:
        return show(self.switch, text)

    async def hupall(self, text: str) -> str:
        cause = text.partition(" ")[0] or "MANAGER_REQUEST"
        self.switch.hangup_all(cause if cause in NUMBERS else "MANAGER_REQUEST")
        return "+OK hangup all channels with cause " + cause + "\n"


def install(switch: Switch) -> None:
    made = Channels(switch)
    switch.apis |= {name: ("mod_commands", made.of_channel(command)) for name, command in _CHANNEL.items()}
    more = {
        "uuid_exists": made.exists, "uuid_bridge": made.bridge, "uuid_hold": made.hold, "originate": made.originate,
        "show": made.show, "hupall": made.hupall,
    }  # fmt: skip
    switch.apis |= {name: ("mod_commands", command) for name, command in more.items()}
