"""API commands of mod_conference, mod_sofia and mod_voicemail."""

from __future__ import annotations

import json

from lab.voice.freeswitch.conference import Member, Room
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.registrar import Registration
from lab.voice.freeswitch.sofia import Profile
from lab.voice.freeswitch.sounds import Recorder
from lab.voice.freeswitch.voicemail import Box

_LINE = "=" * 97


class Conferences:
    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    async def run(self, text: str) -> str:
        words = text.split()
        rooms: dict[str, Room] = self.switch.conferences
        verb = words[0] if words else ""
        if verb in ("list", "json_list", "xml_list") or not words:
            return self._list(list(rooms.values()), verb, words[1:])
        if len(words) < 2:
            return (
                "-ERR Conference command needs a verb\n" if words[0] in rooms else f"-ERR Conference {verb} not found\n"
            )
        room = rooms.get(words[0])
        if room is None:
            return f"-ERR Conference {words[0]} not found\n"
        if words[1] in ("list", "json_list"):
            return self._list([room], words[1], words[2:])
        handler = getattr(self, f"_{words[1]}", None)
        if handler is None:
            return f"-ERR Conference command '{words[1]}' not found.\n"
        done: str = handler(room, words[2:])
        return done

    def _list(self, rooms: list[Room], verb: str, words: list[str]) -> str:
        if verb == "json_list":
            return json.dumps([_json(one) for one in rooms])
        if "count" in words:
            return "".join(f"{len(one.members)}\n" for one in rooms) or "0\n"
        if "summary" not in words and not rooms:
            return "+OK No active conferences.\n"
        lines = []
        for room in rooms:
            count = len(room.members)
            flags = "running|answered|enforce_min|dynamic" + ("|locked" if room.locked else "")
            lines.append(
                f"+OK Conference {room.name} ({count} member{'' if count == 1 else 's'} rate: 8000 flags: {flags})"
            )
            lines += [_line(one) for one in room.members.values() if "summary" not in words]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _chosen(room: Room, who: str) -> list[Member] | None:
        members = list(room.members.values())
        if who in ("all", "non_moderator"):
            return [one for one in members if who == "all" or not one.moderator]
        if who == "last":
            return members[-1:]
        return [room.members[int(who)]] if who.isdecimal() and int(who) in room.members else None

    def _each(self, room: Room, words: list[str], verb: str) -> tuple[list[Member], str]:
        who = words[0] if words else ""
        chosen = self._chosen(room, who)
        if chosen is None:
            return [], f"-ERR Non-Existant ID {who}\n"
        return chosen, "".join(f"+OK {verb} {one.number}\n" for one in chosen)

    def _kick(self, room: Room, words: list[str]) -> str:
        chosen, text = self._each(room, words, "kicked")
        for member in chosen:
            room.tell("kick-member", member)
            member.kicked.set()
        return text

    def _hup(self, room: Room, words: list[str]) -> str:
        chosen, text = self._each(room, words, "hup")
        for member in chosen:
            member.channel.hangup()
        return text

    def _mute(self, room: Room, words: list[str], *, muted: bool = True) -> str:
        chosen, text = self._each(room, words, "mute" if muted else "unmute")
        for member in chosen:
            room.mute(member, muted)
        return text

    def _unmute(self, room: Room, words: list[str]) -> str:
        return self._mute(room, words, muted=False)

    def _deaf(self, room: Room, words: list[str], *, deaf: bool = True) -> str:
        chosen, text = self._each(room, words, "deaf" if deaf else "undeaf")
        for member in chosen:
            member.deaf = deaf
            room.tell("deaf-member" if deaf else "undeaf-member", member)
        return text

    def _undeaf(self, room: Room, words: list[str]) -> str:
        return self._deaf(room, words, deaf=False)

    def _lock(self, room: Room, _words: list[str], *, locked: bool = True) -> str:
        room.locked = locked
        room.tell("lock" if locked else "unlock")
        return f"+OK {room.name} {'locked' if locked else 'unlocked'}\n"

    def _unlock(self, room: Room, words: list[str]) -> str:
        return self._lock(room, words, locked=False)

    def _play(self, room: Room, words: list[str]) -> str:
        if words and room.play(words[0]):
            return f"(play) Playing file {words[0]}\n"
        return f"(play) File: {words[0] if words else ''} not found.\n"

    def _record(self, room: Room, words: list[str]) -> str:
        path = words[0] if words else ""
        try:
            room.recording[path] = Recorder(self.switch.folders["recordings_dir"] / path)
        except OSError:
            return f"-ERR Cannot record {path}\n"
        return f"Record file {path}\n"

    def _norecord(self, room: Room, words: list[str]) -> str:
        paths = list(room.recording) if words[:1] == ["all"] else [one for one in words if one in room.recording]
        for path in paths:
            room.recording.pop(path).close()
        return f"Stop recording file {' '.join(paths)}\n"


def _flags(member: Member) -> str:
    flags = [name for name, on in (("hear", not member.deaf), ("speak", not member.muted)) if on]
    return "|".join([*flags, *(["moderator"] if member.moderator else [])])


def _line(member: Member) -> str:
    channel = member.channel
    caller = channel.profile
    who = (channel.name, channel.uuid, caller.caller_id_name, caller.caller_id_number)
    return ";".join([str(member.number), *who, _flags(member), "0", "0", "0", "200"])


def _json(room: Room) -> dict[str, object]:
    members = []
    for one in room.members.values():
        caller = one.channel.profile
        said = {"type": "caller", "id": one.number, "uuid": one.channel.uuid, "caller_id_name": caller.caller_id_name}
        flags = {"can_hear": not one.deaf, "can_speak": not one.muted, "is_moderator": one.moderator}
        members.append({**said, "caller_id_number": caller.caller_id_number, "flags": flags})
    return {
        "conference_name": room.name, "member_count": len(members), "ghost_count": 0, "rate": 8000, "run_time": 0,
        "conference_uuid": room.uuid, "canvas_count": 0, "max_bw_in": 0, "force_bw_in": 0, "video_floor_packets": 0,
        "locked": room.locked, "recording": bool(room.recording), "members": members,
    }  # fmt: skip


class Sofia:
    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    async def run(self, text: str) -> str:
        words = text.split()
        if words[:1] == ["status"]:
            return self._asked(words[1:])
        if words[:1] == ["profile"] and len(words) > 2:
            return await self._profile(words[1], words[2])
        return "-USAGE: sofia help\n"

    def _asked(self, words: list[str]) -> str:
        """`sofia status` and what follows it."""
        profiles: dict[str, Profile] = self.switch.profiles
        if words[:1] == ["gateway"]:
            return self._gateway(words[1] if len(words) > 1 else "")
        named = words[1] if words[:1] == ["profile"] and len(words) > 1 else "".join(words[:1])
        if not named:
            return self._summary()
        if named not in profiles:
            return "Invalid Profile!\n"
        registered = "reg" in words[2:]
        return _registrations(profiles[named].registrar.registrations()) if registered else _status(profiles[named])

    async def _profile(self, name: str, verb: str) -> str:
        profile: Profile | None = self.switch.profiles.get(name)
        if profile is None:
            return f"Invalid Profile [{name}]\n" if verb != "start" else f"Failure starting {name}\n"
        if verb == "stop":
            await profile.stop()
            return "Reload XML [Success]\nstopping: " + name + "\n"
        if verb in ("restart", "start"):
            await profile.stop()
            config = self.switch.registry.configuration("sofia.conf")
            found = config.find(f"profiles/profile[@name='{name}']") if config is not None else None
            if found is None:
                return f"Failure starting {name}\n"
            self.switch.profiles[name] = Profile(self.switch, found)
            await self.switch.profiles[name].start()
            return (
                f"Reload XML [Success]\nrestarting: {name}\n" if verb == "restart" else f"{name} started successfully\n"
            )
        if verb == "rescan":
            return "Reload XML [Success]\n+OK scan complete\n"
        return "-ERR Unknown command!\n"

    def _summary(self) -> str:
        rows = [f"{'Name':>25}\t{'   Type':<10}\t{'Data':>40}\tState", _LINE]
        aliases = gateways = 0
        for profile in self.switch.profiles.values():
            state = f"RUNNING ({len(profile.in_use)})" if profile.running else "DOWN (0)"
            rows.append(f"{profile.name:>25}\t{'profile':<10}\t{profile.url:>40}\t{state}")
            for name in profile.aliases:
                aliases += 1
                rows.append(f"{name:>25}\t{'alias':<10}\t{profile.name:>40}\tALIASED")
            for name, gateway in profile.gateways.items():
                gateways += 1
                rows.append(f"{f'{profile.name}::{name}':>25}\t{'gateway':<10}\t{gateway.uri(''):>40}\tNOREG")
        count = len(self.switch.profiles)
        rows += [_LINE, f"{count} profile{'' if count == 1 else 's'} {aliases} alias{'' if aliases == 1 else 'es'}"]
        return "\n".join(rows) + "\n"

    def _gateway(self, name: str) -> str:
        for profile in self.switch.profiles.values():
            found = profile.gateways.get(name)
            if found is not None:
                rows = [
                    _LINE,
                    f"Name    \t{name}",
                    f"Profile \t{profile.name}",
                    "State   \tNOREG",
                    "Status  \tUP",
                    _LINE,
                ]
                return "\n".join(rows) + "\n"
        return "Invalid Gateway!\n"


def _status(profile: Profile) -> str:
    pairs = [
        ("Name", profile.name), ("Domain Name", "N/A"), ("Auto-NAT", "false"), ("DBName", f"sofia_reg_{profile.name}"),
        ("Dialplan", profile.params.get("dialplan", "XML")), ("Context", profile.params.get("context", "default")),
        ("Challenge Realm", profile.params.get("challenge-realm", "auto_to")), ("RTP-IP", profile.media_address),
        ("SIP-IP", profile.address), ("URL", profile.url), ("BIND-URL", f"{profile.url};transport=udp,tcp"),
        ("CODECS IN", profile.params.get("inbound-codec-prefs", "PCMU,PCMA")),
        ("CODECS OUT", profile.params.get("outbound-codec-prefs", "PCMU,PCMA")), ("TEL-EVENT", "101"),
        ("DTMF-MODE", "rfc2833"), ("CALLS-IN", profile.calls_in), ("FAILED-CALLS-IN", profile.failed_in),
        ("CALLS-OUT", profile.calls_out), ("FAILED-CALLS-OUT", profile.failed_out),
        ("REGISTRATIONS", len(profile.registrar.registrations())),
    ]  # fmt: skip
    rows = [_LINE, *(f"{name:<16}\t{value}" for name, value in pairs)]
    return "\n".join(rows) + "\n"


def _registrations(found: list[Registration]) -> str:
    rows = ["", "Registrations:", _LINE]
    for one in found:
        rows += [
            f"Call-ID:    \t{one.call_id}",
            f"User:       \t{one.user}@{one.realm}",
            f"Contact:    \t<{one.contact}>",
        ]
        rows += [f"Agent:      \t{one.agent}", f"Status:     \tRegistered(UDP)(unknown) EXP({int(one.expires)})", ""]
    return "\n".join([*rows, f"Total items returned: {len(found)}", _LINE]) + "\n"


class Voicemail:
    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    async def boxcount(self, text: str) -> str:
        """[PROFILE/]USER@DOMAIN[|new|saved|all]."""
        who, _, how = text.partition("|")
        profile, _, account = who.rpartition("/")
        user, _, domain = account.partition("@")
        messages = Box(self.switch, profile or "default", domain, user).messages()
        new = sum(not one.read for one in messages)
        saved = len(messages) - new
        return {"all": f"{new}:{saved}:0:0", "saved": str(saved)}.get(how, str(new))


def install(switch: Switch) -> None:
    switch.apis["conference"] = ("mod_conference", Conferences(switch).run)
    switch.apis["sofia"] = ("mod_sofia", Sofia(switch).run)
    switch.apis["vm_boxcount"] = ("mod_voicemail", Voicemail(switch).boxcount)
