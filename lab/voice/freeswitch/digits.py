"""Keys that are asked for: read, play_and_get_digits, and the menus of ivr.conf."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET

from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.dialplan import searched, substituted
from lab.voice.freeswitch.sounds import NotFoundError


async def read(
    channel: Channel, most: int, sound: str, wait: float, terminators: str = "#", *, between: float | None = None
) -> tuple[str, str]:
    """Keys, and the terminator if one ended them. wait: seconds until the first, `between`: until each further."""
    found = ""
    if sound and sound != "silence":
        with contextlib.suppress(NotFoundError):
            found = await channel.play(sound, "any")
    if found and found in terminators:
        return "", found
    while len(found) < most:
        seconds = between if found and between is not None else wait
        try:
            key = await asyncio.wait_for(channel.digits.get(), seconds)
        except TimeoutError:
            break
        if key in terminators:
            return found, key
        found += key
    return found, ""


async def play_and_get_digits(channel: Channel, data: str) -> None:
    """MIN MAX TRIES TIMEOUT TERMINATORS FILE INVALID_FILE VARIABLE REGEX [DIGIT_TIMEOUT [FAILURE EXTENSION...]]."""
    words = data.split(" ")
    if len(words) < 8:
        channel.switch.journal.error(f"{channel.name} INVALID ARGUMENTS play_and_get_digits {data}")
        return
    least, most, tries = int(words[0]), int(words[1]), int(words[2])
    timeout = int(words[3]) / 1000
    terminators = "" if words[4] == "none" else words[4]
    sound, invalid, variable = words[5], words[6], words[7]
    expression = words[8] if len(words) > 8 else ""
    between = int(words[9]) / 1000 if len(words) > 9 and words[9].isdecimal() and words[9] != "0" else timeout
    for _ in range(tries):
        found, _ended = await read(channel, most, sound, timeout, terminators, between=between)
        if len(found) >= least and (not expression or searched(expression, found)):
            channel.variables[variable] = found
            channel.variables["read_result"] = "success"
            return
        channel.variables[f"{variable}_invalid"] = found
        with contextlib.suppress(NotFoundError):
            if invalid and invalid != "silence":
                await channel.play(invalid)
    channel.variables.pop(variable, None)
    channel.variables["read_result"] = "failure"
    if len(words) > 10:
        channel.transfer(*words[10:13])


async def read_application(channel: Channel, data: str) -> None:
    """MIN MAX FILE VARIABLE TIMEOUT TERMINATORS."""
    words = data.split(" ")
    if len(words) < 4:
        channel.switch.journal.error(f"{channel.name} read: invalid arguments {data}")
        return
    timeout = int(words[4]) / 1000 if len(words) > 4 else 1.0
    found, ended = await read(channel, int(words[1]), words[2], timeout, words[5] if len(words) > 5 else "#")
    channel.variables[words[3]] = found
    channel.variables["read_terminator_used"] = ended
    channel.variables["read_result"] = "success" if len(found) >= int(words[0]) else "timeout"


class Menu:
    """One <menu> of ivr.conf. Times of it are milliseconds."""

    def __init__(self, element: ET.Element) -> None:
        self.name = element.get("name", "")
        self._of = element
        self.entries = list(element.iterfind("entry"))
        longest = max((len(one.get("digits", "")) for one in self.entries), default=1)
        self.most = self.number("digit-len", longest)

    def number(self, name: str, default: int) -> int:
        text = self._of.get(name, "")
        return int(text) if text.isdecimal() else default

    def sound(self, name: str) -> str:
        return self._of.get(name, "")

    def entry(self, keys: str) -> tuple[str, str] | None:
        """Action and parameter of the keys; digits may be a /regular expression/."""
        for one in self.entries:
            digits = one.get("digits", "")
            if digits.startswith("/"):
                match = searched(digits, keys)
                if match is not None:
                    return one.get("action", ""), substituted(one.get("param", ""), match)
            elif digits == keys:
                return one.get("action", ""), one.get("param", "")
        return None

    def waiting(self, keys: str) -> bool:
        """Whether more keys can still make an entry."""
        return any(
            one.get("digits", "").startswith("/")
            or (one.get("digits", "").startswith(keys) and one.get("digits") != keys)
            for one in self.entries
        )


async def ivr(channel: Channel, data: str) -> None:
    """Runs the menu of that name until it is left."""
    config = channel.switch.registry.configuration("ivr.conf")
    menus = {one.get("name", ""): Menu(one) for one in config.iterfind("menus/menu")} if config is not None else {}
    if data not in menus:
        channel.switch.journal.error(f"Unable to find menu '{data}'")
        return
    channel.answer()
    await _run(channel, menus, data, ())


async def _run(channel: Channel, menus: dict[str, Menu], name: str, above: tuple[str, ...]) -> str:
    """What the menu above shall do: empty (it goes on), top, exit."""
    menu = menus[name]
    failures = timeouts = 0
    sound = menu.sound("greet-long")
    while channel.up:
        keys = await _keys(channel, menu, sound)
        sound = menu.sound("greet-short") or menu.sound("greet-long")
        entry = menu.entry(keys) if keys else None
        channel.variables["ivr_menu_status"] = "success" if entry else ("failure" if keys else "timeout")
        if entry is None:
            failures, timeouts = failures + bool(keys), timeouts + (not keys)
            with contextlib.suppress(NotFoundError):
                if keys and menu.sound("invalid-sound"):
                    await channel.play(menu.sound("invalid-sound"))
            if failures >= menu.number("max-failures", 3) or timeouts >= menu.number("max-timeouts", 3):
                break
            continue
        failures = timeouts = 0
        left = await _act(channel, menus, entry, (*above, name))
        if left == "top" and above:
            return "top"
        if left in ("back", "exit"):
            return "" if left == "back" else "exit"
    with contextlib.suppress(NotFoundError):
        if channel.up and menu.sound("exit-sound"):
            await channel.play(menu.sound("exit-sound"))
    return "exit"


async def _keys(channel: Channel, menu: Menu, sound: str) -> str:
    keys = ""
    with contextlib.suppress(NotFoundError):
        if sound:
            keys = await channel.play(sound, "any")
    between = menu.number("inter-digit-timeout", 2000) / 1000
    while len(keys) < menu.most and (not keys or menu.waiting(keys)):
        try:
            key = await asyncio.wait_for(
                channel.digits.get(), between if keys else menu.number("timeout", 10_000) / 1000
            )
        except TimeoutError:
            break
        if key == "#" and keys and menu.entry(keys + "#") is None:
            break
        keys += key
    return keys


async def _act(channel: Channel, menus: dict[str, Menu], entry: tuple[str, str], path: tuple[str, ...]) -> str:
    action, parameter = entry
    if action == "menu-exec-app":
        application, _, data = parameter.partition(" ")
        await channel.switch.execute(channel, application, data)
    elif action == "menu-sub" and parameter in menus:
        return await _run(channel, menus, parameter, path)
    elif action == "menu-play-sound":
        with contextlib.suppress(NotFoundError):
            await channel.play(parameter)
    elif action in ("menu-back", "menu-top", "menu-exit"):
        return action.removeprefix("menu-")
    else:
        channel.switch.journal.error(f"ivr: {action} {parameter} is not known")
    return ""
