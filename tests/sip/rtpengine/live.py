"""Relays in namespaces of their own on one segment, each with its driver under a real supervisor; and callers."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pylibsrtp import Policy, Session

from nf.clock import RealClock
from nf.contracts.driver import Context, Undo
from sip.rtpengine.client import NgClient
from sip.rtpengine.documents import RtpengineSection
from sip.rtpengine.driver import RtpengineDriver, create
from sip.rtpengine.flags import Kind, Side, answer_flags, offer_flags
from sip.rtpengine.messages import Flags, answer, offer
from tests.headend.multicast.tree.network import Node, ip, nodes
from tests.sip.rtpengine.media import Party, endpoint, sdp

FIXED = {"a": "10.77.0.1", "b": "10.77.0.2", "e": "10.77.0.3"}
MOVING = {"a": "10.77.0.11", "b": "10.77.0.12"}
PORTS = {"a": 30000, "b": 30000}
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEY = bytes(range(30))
_numbers = itertools.count()


@contextmanager
def segment(*names: str) -> Iterator[dict[str, Node]]:
    """Nodes on one bridge, each with its fixed address on eth1; relays are supervised."""
    with nodes(*names, "s") as made:
        switch = made["s"]
        ip("-n", switch.namespace, "link", "add", "br0", "type", "bridge")
        ip("-n", switch.namespace, "link", "set", "br0", "up")
        for name in names:
            peer = ("peer", "name", "eth1", "netns", made[name].namespace)
            ip("-n", switch.namespace, "link", "add", f"port-{name}", "type", "veth", *peer)
            ip("-n", switch.namespace, "link", "set", f"port-{name}", "master", "br0", "up")
            ip("-n", made[name].namespace, "link", "set", "eth1", "up")
            ip("-n", made[name].namespace, "address", "add", f"{FIXED[name]}/24", "dev", "eth1")
            if name != "e":
                made[name].supervise()
        yield made


def section(name: str, *, pair: bool = False, **relay: Any) -> RtpengineSection:
    other = "b" if name == "a" else "a"
    data: dict[str, Any] = {
        "relay": {
            "id": f"r{name}",
            "appliance": name,
            "address": MOVING[name] if pair else FIXED[name],
            "ports": [30000, 30999],
            **({"partner": f"r{other}"} if pair else {}),
            **relay,
        },
        "peers": [FIXED["e"]],
        "provides": [f"{name}.voice.relay"],
    }
    if pair:
        data["pair"] = {
            "first": name == "a",
            "partner": f"r{other}",
            "address": MOVING[other],
            "interface": "eth1",
            "own": f"{FIXED[name]}/24",
            "other": FIXED[other],
        }
    return RtpengineSection.model_validate(data)


def context(seconds: float = 120.0) -> Context:
    clock = RealClock()
    return Context(clock, clock.monotonic() + seconds)


class Bench:
    """A node's driver; its methods run inside the node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.driver: RtpengineDriver = create(node.context())

    def call(self, function: Any, *arguments: Any) -> Any:
        return self.node.call(function, *arguments)

    def commit(self, want: RtpengineSection | None) -> list[Undo]:
        return self.call(self._commit, want)

    async def _commit(self, want: RtpengineSection | None) -> list[Undo]:
        steps = self.driver.plan(await self.driver.observe(), want)
        await self.driver.check(steps, want)
        undos = []
        for step in steps:
            undos.append(await self.driver.prepare(step))
            await self.driver.apply(step, context())
        assert (await self.driver.verify(want, context())).differences == ()
        return undos

    def pid(self, unit: str = "rtpengine") -> int:
        status = self.call(self.driver._units.status, unit)
        assert status is not None
        assert status.pid is not None
        return int(status.pid)


async def set_up(
    ng: NgClient, call_id: str, one: Party, two: Party, flags: tuple[Flags | None, Flags | None] = (None, None)
) -> None:
    """A call between two parties who speak PCMA; both send from now on."""
    told = await ng.ask(offer(call_id, "one", sdp(one.address, one.port), flags[0]))
    two.to = endpoint(told["sdp"])
    told = await ng.ask(answer(call_id, "one", "two", sdp(two.address, two.port), flags[1]))
    one.to = endpoint(told["sdp"])


async def set_up_sdes(ng: NgClient, call_id: str, plain: Party, secret: Party) -> tuple[str, str]:
    """A call of one who speaks RTP with one who speaks SRTP, with keys in the SDP (RFC 4568) and libsrtp as judge. What
    each was shown: the offer, the answer."""
    sides = Side(), Side(Kind.SDES)
    told = await ng.ask(offer(call_id, "one", sdp(plain.address, plain.port), offer_flags(*sides)))
    offered = str(told["sdp"])
    found = re.search(rf"a=crypto:(\d+) {SUITE} inline:(\S+)", offered)
    assert found is not None, offered
    crypto = f"a=crypto:{found[1]} {SUITE} inline:{base64.b64encode(KEY).decode()}\r\n"
    mine = sdp(secret.address, secret.port, protocol="RTP/SAVP", more=crypto)
    told = await ng.ask(answer(call_id, "one", "two", mine, answer_flags(*sides)))
    secret.out = _srtp(KEY, Policy.SSRC_ANY_OUTBOUND).protect
    secret.taken = _srtp(base64.b64decode(found[2] + "=="), Policy.SSRC_ANY_INBOUND).unprotect
    secret.to, plain.to = endpoint(offered), endpoint(told["sdp"])
    return offered, str(told["sdp"])


def _srtp(key: bytes, direction: int) -> Session:
    return Session(Policy(key=key, ssrc_type=direction, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))


def understood(plain: Party, secret: Party) -> bool:
    """Each has what the other said, and nothing came that could not be decrypted."""
    return (plain.last[12:], secret.last[12:]) == (secret.octets, plain.octets) and plain.broken + secret.broken == 0


def parties() -> tuple[Party, Party]:
    """Ports of their own for each test."""
    first = 4000 + 4 * next(_numbers)
    return Party(FIXED["e"], first, 0x11111111), Party(FIXED["e"], first + 2, 0x22222222)
