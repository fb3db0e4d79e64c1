"""Copies of the media of calls, by subscriptions at the relay that has them (rtpengine's ng protocol).

A party is subscribed to by itself, so that all that comes in on its ports is its own. A relay decrypts what it copies
(the subscription asks for plain RTP). What a relay says of a subscription proves nothing: packets are counted here and
there, and where they flow there alone it is told as lost and subscribed anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from nf.clock import Clock
from nf.contracts.interception import Direction, LossPlace
from nf.errors import NfError, NotFoundError
from sip.interception import sdp
from sip.interception.board import CallKey, Media, Party
from sip.interception.documents import InterceptionSection, RelayPoint
from sip.interception.ports import Pair, Ports
from sip.rtpengine.bencode import Value
from sip.rtpengine.client import NgClient
from sip.rtpengine.messages import Flags, delete, query, subscribe_answer, subscribe_request

CHECK_S: Final = 1.0
AGAIN_S: Final = 0.5
TRIES: Final = 8
FLOWS: Final = 25
"""Packets that a relay has taken of a party while none came here: 0.5 s of telephony, more than a beginning costs."""

Sink = Callable[[Party, int, Direction, bytes], None]
LossSink = Callable[[Party, LossPlace, int | None], None]


class _Subscription:
    """To one party of a call, by its tag."""

    def __init__(self, tag: str, *, caller: bool) -> None:
        self.tag, self.caller = tag, caller
        self.name = secrets.token_hex(8)
        self.pairs: list[Pair] = []
        self.relayed = 0
        self.here = 0

    @property
    def packets(self) -> int:
        return sum(pair.packets for pair in self.pairs)

    def arrived(self) -> int:
        """Packets until now, those that wait in its ports among them."""
        for pair in self.pairs:
            pair.read()
        return self.packets

    def close(self) -> None:
        for pair in self.pairs:
            pair.close()
        self.pairs = []


class Copier:
    def __init__(self, section: InterceptionSection, sink: Sink, lost: LossSink, clock: Clock) -> None:
        """Raises OSError when none of its ports is free."""
        self._address, self._range = str(section.address), section.ports
        self._ports = Ports(self._address, section.ports)
        self._apart: tuple[str, Ports] | None = None
        self._relays = section.relays
        self._sink, self._lost, self._clock = sink, lost, clock
        self._clients: dict[RelayPoint, NgClient] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._calls: dict[CallKey, _Followed] = {}

    def want(self, wanted: Mapping[CallKey, Media]) -> None:
        """Calls that are not in it any more end at once; to one that is there already others may listen."""
        for key in [key for key in self._calls if key not in wanted]:
            task = self._calls.pop(key).stop()
            if task is not None:
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
        for key, media in wanted.items():
            call = self._calls.get(key)
            if call is None:
                self._calls[key] = call = _Followed(self, key)
                call.start()
            call.media = media

    def news(self, key: CallKey) -> None:
        """Something changed in a call: there may be another party."""
        if key in self._calls:
            self._calls[key].awake.set()

    async def close(self) -> None:
        self.want({})
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for client in self._clients.values():
            client.close()
        self._ports.close()
        if self._apart is not None:
            self._apart[1].close()

    def receive(self, address: str) -> None:
        """Where copies of relays on other machines come in, on ports that are open from now on, used or not. Raises
        ValueError."""
        if self._apart is not None and self._apart[0] == address:
            return
        try:
            version = ip_address(address).version
        except ValueError:
            raise ValueError("no address") from None
        if version != ip_address(self._address).version:
            raise ValueError("copies have an address of the proxy's own IP version")
        try:
            made = Ports(address, self._range, late=True)
        except OSError:
            raise ValueError("no port for copies is free at the address") from None
        before, self._apart = self._apart, (address, made)
        if before is not None:
            before[1].close()

    def candidates(self, number: int | None) -> list[RelayPoint]:
        """The call's relay first; then all: one may have taken over, and a number may be unknown. Relays of other
        machines are not even asked where their copies had no way but the network that everybody counts."""
        there = [one for one in self._relays if self._apart is not None or is_here(str(one.address))]
        return sorted(there, key=lambda one: one.group != number)

    @property
    def blind(self) -> bool:
        """Whether there are relays that are not asked."""
        return len(self.candidates(None)) < len(self._relays)

    def client(self, relay: RelayPoint) -> NgClient:
        return self._clients.setdefault(relay, NgClient(str(relay.address), relay.control))

    def ports(self, relay: RelayPoint) -> tuple[str, Ports]:
        """Where this relay's copies come in."""
        if self._apart is not None and not is_here(str(relay.address)):
            return self._apart
        return self._address, self._ports

    def copied(self, call: _Followed, subscription: _Subscription, at_ns: int, packet: bytes) -> None:
        for party in call.media.parties:
            direction = Direction.UNKNOWN
            if party.role:
                from_target = subscription.caller == (party.role == "c")
                direction = Direction.FROM_TARGET if from_target else Direction.TO_TARGET
            self._sink(party, at_ns, direction, packet)

    def lost(self, call: _Followed, place: LossPlace, copies: int | None) -> None:
        for party in call.media.parties:
            self._lost(party, place, copies)


class _Followed:
    """A call whose media is copied."""

    def __init__(self, copier: Copier, key: CallKey) -> None:
        self._copier, self._key = copier, key
        self.media = Media(None, ())
        self.awake, self.over = asyncio.Event(), asyncio.Event()
        self._relay: RelayPoint | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        self._task: asyncio.Task[None] | None = None
        self._known: set[str] = set()
        self._silent, self._counted = False, False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> asyncio.Task[None] | None:
        """Nothing is copied from now on. The task that is left leaves the relay as it would be without us."""
        if self.media.whole and not self._counted:  # it was over before anybody could tell what was said
            self._copier.lost(self, LossPlace.POINT, None)
        self.media = Media(None, ())
        self.over.set()
        self.awake.set()
        return self._task

    async def _run(self) -> None:
        try:
            while not self.over.is_set():
                self.awake.clear()
                await self._turn()
                if self.over.is_set():
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_S if self._subscriptions else AGAIN_S):
                        await self.awake.wait()
        finally:
            await self._end()

    async def _turn(self) -> None:
        try:
            found = await self._query()
            if found is None:
                if self._relay is None and self._copier.blind and not self._silent:
                    self._copier.lost(self, LossPlace.POINT, None)
                    self._silent = self._counted = True
                return
            relay, tags = found
            for tag, packets in tags.items():
                subscription = self._subscriptions.get(tag)
                if subscription is None:
                    await self._subscribe(relay, tag, packets)
                    await self._began(tag)
                else:
                    await self._check(relay, subscription, packets)
            self._silent = False
        except (NfError, OSError, ValueError):
            if not self._silent:
                self._copier.lost(self, LossPlace.POINT, None)
            self._silent = True

    async def _query(self) -> tuple[RelayPoint, dict[str, int]] | None:
        """Where the call is, and how many RTP packets came of each of its parties. None: no relay has it now."""
        relays = [self._relay] if self._relay is not None else []
        relays += [one for one in self._copier.candidates(self.media.relay) if one not in relays]
        failed: NfError | None = None
        for relay in relays:
            try:
                answer = await self._copier.client(relay).ask(query(self._key[0]))
            except NotFoundError:
                continue
            except NfError as error:
                failed = error
                continue
            if relay != self._relay:
                self._forget()
                self._relay = relay
            return relay, _parties(answer)
        if failed is not None:
            raise failed
        return None

    async def _subscribe(self, relay: RelayPoint, tag: str, packets: int) -> None:
        """Raises NfError, OSError, ValueError."""
        client, made = self._copier.client(relay), _Subscription(tag, caller=tag == self._key[1])
        made.relayed = packets
        asked = {**subscribe_request(self._key[0], made.name, [tag]), "transport-protocol": "RTP/AVP"}
        try:
            offer = str((await client.ask(asked)).get("sdp", ""))
            address, ports = self._copier.ports(relay)
            for port in sdp.streams(offer):
                source = (str(relay.address), port)
                made.pairs.append(ports.pair(source, lambda at, data: self._copier.copied(self, made, at, data)))
            answer = sdp.answer(offer, address, [pair.port for pair in made.pairs])
            await client.ask(subscribe_answer(self._key[0], made.name, answer, Flags(("allow transcoding",))))
        except BaseException:
            made.close()
            raise
        self._subscriptions[tag] = made

    async def _began(self, tag: str) -> None:
        """What a party sent before it was subscribed to is lost, and told: an answer is told by the proxy some
        milliseconds after it went on, and media may be as quick."""
        if not self.media.whole or tag in self._known:
            return
        self._known.add(tag)
        missed = await self._missed(self._subscriptions[tag])
        if missed is not None:
            self._counted = True
        if missed is None or missed > 0:
            self._copier.lost(self, LossPlace.POINT, missed)

    async def _missed(self, one: _Subscription) -> int | None:
        """What the relay had of the party and was not copied: exact when nothing came while the relay was asked, which
        is shorter than between two packets. None: it has the call no more."""
        missed = 0
        for _ in range(TRIES):
            before = one.arrived()
            found = await self._query()
            if found is None or self._subscriptions.get(one.tag) is not one:
                return None
            after = one.arrived()
            missed = found[1].get(one.tag, 0) - after
            if after == before:
                break
        return missed

    async def _check(self, relay: RelayPoint, one: _Subscription, packets: int) -> None:
        dropped = sum(pair.drops() for pair in one.pairs)
        if dropped:
            self._copier.lost(self, LossPlace.KERNEL, dropped)
        if one.packets > one.here:
            one.relayed, one.here = packets, one.packets
        elif packets - one.relayed >= FLOWS:
            self._copier.lost(self, LossPlace.POINT, packets - one.relayed)
            await self._unsubscribe(relay, self._subscriptions.pop(one.tag))
            await self._subscribe(relay, one.tag, packets)

    async def _unsubscribe(self, relay: RelayPoint, one: _Subscription) -> None:
        """A relay keeps a call as long as it has a tag that nobody deleted: ours would outlive the parties'. Deleting
        ends the subscription too; to be asked to unsubscribe from a call that is over, a relay writes into its log."""
        try:
            with contextlib.suppress(NfError):
                await self._copier.client(relay).ask(delete(self._key[0], one.name))
        finally:
            one.close()

    def _forget(self) -> None:
        for one in self._subscriptions.values():
            one.close()
        self._subscriptions = {}

    async def _end(self) -> None:
        """What came until now is handed on; nothing that comes later is anybody's."""
        subscriptions, self._subscriptions = self._subscriptions, {}
        for one in subscriptions.values():
            one.close()
        if self._relay is not None:
            for one in subscriptions.values():
                await self._unsubscribe(self._relay, one)


def is_here(address: str) -> bool:
    """Whether it is an address of this machine: what it would send from, were it to send there (udp(7))."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, 9))
        except OSError:
            return False
        source = str(sock.getsockname()[0])
    return source == address or ip_address(source).is_loopback


def _parties(answer: Mapping[str, Value]) -> dict[str, int]:
    """Tag -> RTP packets, of those who send or receive; a subscriber is no party, nor is one that was."""
    found: dict[str, int] = {}
    tags = answer.get("tags")
    for tag, value in tags.items() if isinstance(tags, dict) else ():
        medias = value.get("medias") if isinstance(value, dict) else None
        subscriptions = value.get("subscriptions") if isinstance(value, dict) else None
        kinds = {one.get("type") for one in _dicts(subscriptions)}
        if not tag or kinds != {"offer/answer"}:
            continue
        streams = [stream for media in _dicts(medias) for stream in _dicts(media.get("streams"))]
        if streams:
            found[str(tag)] = sum(_packets(one) for one in streams if "RTCP" not in _list(one.get("flags")))
    return found


def _packets(stream: Mapping[str, Value]) -> int:
    stats = stream.get("stats")
    packets = stats.get("packets") if isinstance(stats, dict) else None
    return packets if isinstance(packets, int) else 0


def _dicts(value: Value | None) -> list[dict[str, Value]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _list(value: Value | None) -> list[Value]:
    return value if isinstance(value, list) else []
