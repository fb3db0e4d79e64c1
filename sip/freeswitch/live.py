"""What a running FreeSWITCH says of itself, read by its event socket: pure readers, and one that asks for all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sip.freeswitch.dialplan import PROFILE
from sip.freeswitch.errors import CommandRefused
from sip.freeswitch.render import CONFIG_VARIABLE, FIXED_VARIABLE

_VERSION: Final = re.compile(r"\(Version (.{1,300})\) is (not )?ready")
_SINCE: Final = re.compile(r"^(\d+) session\(s\) since startup", re.MULTILINE)
_NOW: Final = re.compile(r"^(\d+) session\(s\) - peak (\d+)", re.MULTILINE)
_RATE: Final = re.compile(r"^(\d+) session\(s\) per Sec out of max (\d+)", re.MULTILINE)
_MOST: Final = re.compile(r"^(\d+) session\(s\) max", re.MULTILINE)
_IDLE: Final = re.compile(r"^min idle cpu [\d.]+/([\d.]+)", re.MULTILINE)
_TOTAL: Final = re.compile(r"^\s*(\d+) total\.", re.MULTILINE)
_PROFILE: Final = re.compile(r"^\s*(\S+)\s+profile\s+(\S+)\s+(\S+)", re.MULTILINE)
_ROOM: Final = re.compile(r"Conference (\S+) \((\d+) members?\b")


class Asks(Protocol):
    """A connection, or a client that has one."""

    async def api(self, command: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Status:
    """`status`. sessions: legs of calls now; rate: new ones in the last second; idle: per cent of the processors."""

    version: str = ""
    ready: bool = False
    sessions: int = 0
    peak: int = 0
    since_start: int = 0
    rate: int = 0
    most_rate: int = 0
    most: int = 0
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    members: int


@dataclass(frozen=True, slots=True)
class Channel:
    """One leg of a call. `at`: seconds since the epoch when it began."""

    uuid: str
    direction: str
    at: int
    state: str
    caller: str
    called: str
    application: str


@dataclass(frozen=True, slots=True)
class Live:
    """config, fixed  generations that it has loaded (`sip.freeswitch.render`); empty: not told
    profile        where the SIP profile is, ADDRESS:PORT, and its state; empty: it has none
    paused         takes no new calls
    """

    status: Status
    calls: int
    config: str = ""
    fixed: str = ""
    profile: str = ""
    profile_state: str = ""
    paused: bool = False
    rooms: tuple[Room, ...] = ()


async def read_live(esl: Asks) -> Live:
    """Raises UnavailableError, DeadlineError, FrameError."""
    profile, state = profile_of(await esl.api("sofia status"))
    return Live(
        status=status_of(await esl.api("status")),
        calls=await read_calls(esl),
        config=await _variable(esl, CONFIG_VARIABLE),
        fixed=await _variable(esl, FIXED_VARIABLE),
        profile=profile,
        profile_state=state,
        paused=await read_paused(esl),
        rooms=rooms_of(await _told(esl, "conference list")),
    )


async def read_calls(esl: Asks) -> int:
    """Legs: a call to a conference is one, one that leaves by a menu is two."""
    return total_of(await esl.api("show channels count"))


async def read_paused(esl: Asks) -> bool:
    return (await _told(esl, "fsctl pause_check inbound")).strip() == "true"


async def read_channels(esl: Asks) -> tuple[Channel, ...]:
    return channels_of(await esl.api("show channels as json"))


async def _variable(esl: Asks, name: str) -> str:
    return (await _told(esl, f"global_getvar {name}")).strip()


async def _told(esl: Asks, command: str) -> str:
    """Empty when it refuses to tell: with nothing there, some commands call that an error."""
    try:
        return await esl.api(command)
    except CommandRefused:
        return ""


# -- readers ----------------------------------------------------------------------------------------------------------


def status_of(text: str) -> Status:
    """What is not there counts as nothing."""
    version, now, rate = _VERSION.search(text), _NOW.search(text), _RATE.search(text)
    idle = _IDLE.search(text)
    return Status(
        version=version[1] if version else "",
        ready=version is not None and version[2] is None,
        sessions=int(now[1]) if now else 0,
        peak=int(now[2]) if now else 0,
        since_start=_number(_SINCE, text),
        rate=int(rate[1]) if rate else 0,
        most_rate=int(rate[2]) if rate else 0,
        most=_number(_MOST, text),
        idle=_share(idle[1]) if idle else None,
    )


def total_of(text: str) -> int:
    """Of `show ... count`."""
    return _number(_TOTAL, text)


def profile_of(text: str) -> tuple[str, str]:
    """Of `sofia status`: where our profile is, and its state."""
    for name, place, state in _PROFILE.findall(text):
        if name == PROFILE:
            return place.rpartition("@")[2], state
    return "", ""


def rooms_of(text: str) -> tuple[Room, ...]:
    """Of `conference list`."""
    return tuple(Room(name, int(members)) for name, members in _ROOM.findall(text))


def channels_of(text: str) -> tuple[Channel, ...]:
    """Of `show channels as json`, whose `rows` are not there when there are none."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    rows = read.get("rows", ()) if isinstance(read, dict) else ()
    return tuple(_channel(row) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def _channel(row: Mapping[str, object]) -> Channel:
    began = str(row.get("created_epoch", ""))
    return Channel(
        uuid=str(row.get("uuid", "")),
        direction=str(row.get("direction", "")),
        at=int(began) if began.isascii() and began.isdigit() and len(began) <= 12 else 0,
        state=str(row.get("callstate", "")),
        caller=str(row.get("cid_num", "")),
        called=str(row.get("dest", "")),
        application=str(row.get("application", "")),
    )


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found else 0


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
