"""The phone as a program: what happens is told in JSON lines; exit code 1 when what was asked for failed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from lab.voice.g711 import PCMA, PCMU
from lab.voice.message import SipError
from lab.voice.phone import Call, CallError, Phone

FREQUENCIES = (350, 440, 480, 500, 600, 620, 700, 850, 1000, 1200, 1400, 1600)
"""Hz that are looked for in what is heard, beside those of --listen."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.voice.phone", description="A softphone of the lab.")
    parser.add_argument("--address", default="127.0.0.1", help="of ours, for SIP and RTP")
    parser.add_argument("--port", type=int, default=0, help="of SIP; 0: whichever is free")
    parser.add_argument("--user", default="phone")
    parser.add_argument("--domain", default="voice.test")
    parser.add_argument("--password", default="")
    parser.add_argument("--proxy", help="HOST:PORT, or tcp:HOST:PORT")
    parser.add_argument("--register", action="store_true", help="first")
    parser.add_argument("--tone", type=int, default=440, help="Hz that we send; 0: silence")
    parser.add_argument("--listen", type=int, nargs="*", default=[], help="Hz that are looked for")
    parser.add_argument("--codec", choices=("PCMU", "PCMA"), help="the only one")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("register").add_argument("--expires", type=int, default=3600)
    verbs.add_parser("options").add_argument("target")
    call = verbs.add_parser("call")
    call.add_argument("target")
    call.add_argument("--ring", type=float, default=60, help="seconds until we give up")
    call.add_argument("--dtmf", default="", help="keys that are sent once it is answered")
    call.add_argument("--hold", type=float, default=0, help="seconds of hold in the middle")
    call.add_argument("--transfer", help="whom the other party is sent to at the end (REFER)")
    answer = verbs.add_parser("answer")
    answer.add_argument("--calls", type=int, default=1, help="how many; 0: for ever")
    answer.add_argument("--after", type=float, default=0, help="seconds of ringing")
    answer.add_argument("--refuse", type=int, help="with that status, instead")
    for one in (call, answer):
        one.add_argument("--seconds", type=float, default=5, help="until it is measured, and we hang up; 0: never")
        one.add_argument("--stay", type=float, default=0, help="seconds more until we hang up")
    return parser.parse_args(arguments)


def tell(event: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"time": round(time.time(), 3), "event": event, **more}) + "\n")
    sys.stdout.flush()


def _measured(call: Call, chosen: argparse.Namespace) -> dict[str, object]:
    looked_for = sorted({*FREQUENCIES, *chosen.listen, *([chosen.tone] if chosen.tone else [])})
    return {
        "call": call.call_id,
        "media": asdict(call.media.stats()),
        "hears": call.media.hears(looked_for, 1.0),
        "peer": call.media.remote[0] if call.media.remote is not None else "",
    }


async def _talk(call: Call, chosen: argparse.Namespace) -> None:
    """Until the time is over, or the other side hangs up."""
    ended = asyncio.ensure_future(call.ended())
    if chosen.tone:
        call.media.tone(chosen.tone)
    if getattr(chosen, "dtmf", ""):
        call.dtmf(chosen.dtmf)
    if getattr(chosen, "hold", 0):
        await asyncio.wait([ended], timeout=chosen.seconds / 2)
        await call.hold()
        tell("held", call=call.call_id)
        await asyncio.wait([ended], timeout=chosen.hold)
        await call.resume()
        tell("resumed", call=call.call_id)
    await asyncio.wait([ended], timeout=chosen.seconds or None)
    tell("measured", **_measured(call, chosen))
    if chosen.stay:
        await asyncio.wait([ended], timeout=chosen.stay)
    if getattr(chosen, "transfer", None) and call.over is None:
        tell("transferred", call=call.call_id, status=await call.transfer(chosen.transfer))
    if call.over is None:
        await call.hangup()
    over = await ended
    tell("over", call=call.call_id, by="us" if over.local else "them", status=over.status, method=over.method)


async def _call(phone: Phone, chosen: argparse.Namespace) -> None:
    call = await phone.call(chosen.target)
    tell("calling", call=call.call_id, target=chosen.target)
    ringing = asyncio.ensure_future(call.early.wait())
    try:
        async with asyncio.timeout(chosen.ring):
            answered = asyncio.ensure_future(call.answered())
            await asyncio.wait([ringing, answered], return_when=asyncio.FIRST_COMPLETED)
            if ringing.done():
                tell("ringing", call=call.call_id)
            await answered
    except TimeoutError:
        await call.hangup()
        raise CallError(408, "not answered in time", {}) from None
    finally:
        ringing.cancel()
    tell("answered", call=call.call_id)
    await _talk(call, chosen)


async def _answer(phone: Phone, chosen: argparse.Namespace) -> None:
    talking: set[asyncio.Task[None]] = set()
    taken = 0
    while not chosen.calls or taken < chosen.calls:
        call = await phone.incoming()
        taken += 1
        tell("incoming", call=call.call_id, remote=str(call.remote.uri))
        if chosen.refuse:
            call.refuse(chosen.refuse)
            continue
        await asyncio.sleep(chosen.after)
        with contextlib.suppress(CallError):
            await call.answer()
            tell("answered", call=call.call_id)
            talking.add(asyncio.ensure_future(_talk(call, chosen)))
    await asyncio.gather(*talking)


async def run(chosen: argparse.Namespace) -> None:
    """Raises CallError, OSError, SipError."""
    codecs = {"PCMU": (PCMU,), "PCMA": (PCMA,)}.get(chosen.codec, (PCMU, PCMA))
    phone = Phone(chosen.address, chosen.port, chosen.user, chosen.domain, chosen.password, chosen.proxy, codecs=codecs)
    async with phone:
        tell("open", port=phone.port)
        if chosen.register or chosen.verb == "register":
            granted = await phone.register(getattr(chosen, "expires", 3600))
            tell("registered", user=chosen.user, domain=chosen.domain, expires=granted)
        if chosen.verb == "options":
            tell("options", status=await phone.options(chosen.target))
        elif chosen.verb == "call":
            await _call(phone, chosen)
        elif chosen.verb == "answer":
            await _answer(phone, chosen)
        if chosen.register:
            await phone.register(0)


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        asyncio.run(run(options(arguments)))
    except CallError as error:
        tell("failed", status=error.status, reason=error.reason)
        sys.exit(1)
    except (OSError, SipError, ValueError) as error:
        tell("failed", status=0, reason=str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
