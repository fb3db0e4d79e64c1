"""Calls that the switch makes: dial strings, the bridge application, originate, uuid_bridge."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from lab.voice.freeswitch import causes
from lab.voice.freeswitch.channel import Channel

if TYPE_CHECKING:
    from lab.voice.freeswitch.core import Switch

_VARIABLES = re.compile(r"\s*[{\[<]([^}\]>]*)[}\]>]")


class DialError(Exception):
    """The cause is its text."""


def dial_variables(text: str) -> tuple[dict[str, str], str]:
    """`{a=b,c=d}rest` or `[a=b]rest`."""
    found: dict[str, str] = {}
    while match := _VARIABLES.match(text):
        for one in match[1].split(","):
            name, _, value = one.partition("=")
            if name.strip():
                found[name.strip()] = value.strip().strip("'")
        text = text[match.end() :]
    return found, text.strip()


async def dial(switch: Switch, text: str, caller: Channel | None, seconds: float, given: dict[str, str]) -> Channel:
    """The first that answers: `|` tries one after another, `,` all at once. Raises DialError."""
    variables, rest = dial_variables(text)
    variables = given | variables
    seconds = float(variables.get("originate_timeout") or variables.get("call_timeout") or seconds)
    cause = "NO_ROUTE_DESTINATION"
    for one in rest.split("|"):
        try:
            return await _race(switch, one.split(","), caller, seconds, variables)
        except DialError as error:
            cause = str(error)
    raise DialError(cause)


async def _race(
    switch: Switch, targets: list[str], caller: Channel | None, seconds: float, variables: dict[str, str]
) -> Channel:
    legs: list[Channel] = []
    cause = "NO_ROUTE_DESTINATION"
    for target in targets:
        own, rest = dial_variables(target)
        try:
            legs.append(_leg(switch, rest, caller, variables | own))
        except DialError as error:
            cause = str(error)
    if not legs:
        raise DialError(cause)
    winning = {asyncio.ensure_future(_outcome(leg)): leg for leg in legs}
    deadline = asyncio.get_running_loop().time() + seconds
    winner: Channel | None = None
    try:
        pending = set(winning)
        while pending and winner is None:
            left = deadline - asyncio.get_running_loop().time()
            done, pending = await asyncio.wait(pending, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                cause = "NO_ANSWER"
                break
            winner = next((winning[one] for one in done if winning[one].answered.is_set() and winning[one].up), None)
            cause = next((winning[one].cause for one in done if winning[one].cause), cause)
    finally:
        for task in winning:
            task.cancel()
        for leg in legs:
            if leg is not winner:
                leg.hangup(
                    "LOSE_RACE"
                    if winner is not None
                    else ("NO_ANSWER" if cause == "NO_ANSWER" else "ORIGINATOR_CANCEL")
                )
    if winner is None:
        raise DialError(cause)
    return winner


async def _outcome(leg: Channel) -> None:
    waits = {asyncio.ensure_future(leg.answered.wait()), asyncio.ensure_future(leg.gone.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


def _leg(switch: Switch, target: str, caller: Channel | None, variables: dict[str, str]) -> Channel:
    kind, _, rest = target.strip().partition("/")
    if kind == "error":
        raise DialError(rest if rest in causes.NUMBERS else "NORMAL_UNSPECIFIED")
    if kind == "user":
        return _user(switch, rest, caller, variables)
    if kind != "sofia" or "mod_sofia" not in switch.modules:
        raise DialError("CHAN_NOT_IMPLEMENTED")
    name, _, number = rest.partition("/")
    if name == "gateway":
        return _gateway(switch, number, caller, variables)
    profile = switch.profiles.get(name)
    if profile is None or not profile.running:
        raise DialError("INVALID_PROFILE")
    if "%" in number:
        user, _, domain = number.partition("%")
        number = profile.registrar.contact(user, domain)
        if not number:
            raise DialError("USER_NOT_REGISTERED")
    return _dialled(switch, profile, number, caller, variables)


def _user(switch: Switch, text: str, caller: Channel | None, variables: dict[str, str]) -> Channel:
    """Of the directory: by its dial-string, or where it has registered."""
    user, _, domain = text.partition("@")
    domain = domain or switch.registry.variables.get("domain", "")
    known = switch.registry.user(user, domain)
    if known is None:
        raise DialError("SUBSCRIBER_ABSENT")
    dialled = known[0].get("dial-string", "")
    if dialled and "sofia_contact" not in dialled:
        own, target = dial_variables(dialled.replace("${dialed_user}", user).replace("${dialed_domain}", domain))
        return _leg(switch, target, caller, variables | own)
    for profile in switch.profiles.values():
        contact = profile.registrar.contact(user, domain)
        if contact:
            return _dialled(switch, profile, contact, caller, variables)
    raise DialError("USER_NOT_REGISTERED")


def _gateway(switch: Switch, text: str, caller: Channel | None, variables: dict[str, str]) -> Channel:
    name, _, number = text.partition("/")
    for profile in switch.profiles.values():
        gateway = profile.gateways.get(name)
        if gateway is not None:
            return _dialled(switch, profile, gateway.uri(number), caller, variables, held=gateway)
    raise DialError("INVALID_GATEWAY")


def _dialled(
    switch: Switch,
    profile: object,
    uri: str,
    caller: Channel | None,
    variables: dict[str, str],
    *,
    held: object = None,
) -> Channel:
    if not switch.accepts_outbound:
        raise DialError("NORMAL_TEMPORARY_FAILURE" if switch.paused_outbound else "SYSTEM_SHUTDOWN")
    made: Channel | None = profile.dial(uri, caller, variables, held)  # type: ignore[attr-defined]
    if made is None:
        raise DialError("SWITCH_CONGESTION")
    return made


async def bridge_application(channel: Channel, data: str) -> None:
    """Calls, and joins the two; goes on after it unless hangup_after_bridge is true."""
    timeout = float(channel.variables.get("call_timeout") or channel.variables.get("originate_timeout") or 60)
    inherited = {
        key: value for key, value in channel.variables.items() if key in channel.value("export_vars").split(",")
    }
    channel.ring_ready() if not channel.progressed else None
    task = asyncio.ensure_future(dial(channel.switch, data, channel, timeout, inherited))
    try:
        other = await task
    except DialError as error:
        cause = str(error)
        channel.variables |= {
            "originate_disposition": cause,
            "originate_failed_cause": cause,
            "bridge_hangup_cause": cause,
        }
        if channel.variables.get("continue_on_fail", "false") not in ("true", cause):
            channel.hangup(cause)
        return
    channel.answer()
    await join(channel, other)
    channel.variables["bridge_hangup_cause"] = other.cause
    if channel.variables.get("hangup_after_bridge") == "true":
        channel.hangup(other.cause or "NORMAL_CLEARING")


async def join(first: Channel, second: Channel, over: asyncio.Event | None = None) -> None:
    """Media goes both ways until one hangs up, or they are parted. What has nothing else to do then hangs up."""
    first.peer, second.peer = second, first
    second.call_uuid = first.uuid
    over = over or asyncio.Event()
    first.unbridged = second.unbridged = over
    busy = second.work
    first.relay(second)
    second.relay(first)
    first.variables |= {"bridge_uuid": second.uuid, "signal_bond": second.uuid, "originate_disposition": "SUCCESS"}
    second.variables |= {"bridge_uuid": first.uuid, "signal_bond": first.uuid}
    for one in (first, second):
        one.set_state("CS_EXCHANGE_MEDIA")
    first.fire("CHANNEL_BRIDGE", {"Bridge-A-Unique-ID": first.uuid, "Bridge-B-Unique-ID": second.uuid})
    while not second.digits.empty():
        second.digits.get_nowait()
    try:
        await over.wait()
    finally:
        if first.peer is second:
            first.unbridge()
        if second.up and second.work is busy:
            second.hangup(first.cause or "NORMAL_CLEARING")
    if first.up:
        first.set_state("CS_EXECUTE")


async def originate(switch: Switch, text: str) -> str:
    """`DIAL-STRING EXTENSION|&APPLICATION(DATA) [DIALPLAN] [CONTEXT] [CID-NAME] [CID-NUMBER] [TIMEOUT]`."""
    found = re.match(r"((?:\{[^}]*\})?\S+)\s+(&\w+(?:\(.*\))?|'[^']*'|\S+)((?:\s+\S+)*)$", text.strip())
    if found is None:
        return (
            "-USAGE: <call url> <exten>|&<application_name>(<app_args>) [<dialplan>] [<context>] [<cid_name>] "
            "[<cid_num>] [<timeout_sec>]\n"
        )
    more = dict(enumerate(found[3].split()))
    given = {}
    if more.get(2, "undef") != "undef":
        given["origination_caller_id_name"] = more[2]
    if more.get(3, "undef") != "undef":
        given["origination_caller_id_number"] = more[3]
    timeout = float(more[4]) if more.get(4, "").isdecimal() else 60.0
    try:
        channel = await dial(switch, found[1], None, timeout, given)
    except DialError as error:
        return f"-ERR {error}\n"
    target = found[2]
    if target.startswith("&"):
        application, _, data = target[1:].partition("(")
        channel.start(lambda: switch.execute_list(channel, [(application, data.removesuffix(")"))]))
    else:
        channel.profile = replace(channel.profile, destination_number=target.strip("'"))
        channel.transfer(target.strip("'"), more.get(0, "XML"), more.get(1, "default"))
    return f"+OK {channel.uuid}\n"


def uuid_bridge(first: Channel, second: Channel) -> None:
    """Whatever they did ends; both are in one call."""
    for one in (first, second):
        one.unbridge()

    free, over = asyncio.Event(), asyncio.Event()

    async def leading() -> None:
        await free.wait()
        await join(first, second, over)

    async def following() -> None:
        free.set()
        await over.wait()

    first.start(leading)
    second.start(following)
