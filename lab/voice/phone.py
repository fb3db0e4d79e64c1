"""A softphone, as a class and as a program: `python -m lab.voice.phone --help`.

    async with Phone("127.0.0.1", 5070, "alice", "voice.test", "secret", "127.0.0.1:5060") as phone:
        await phone.register()
        call = await phone.call("9001")
        await call.answered()
        call.media.tone(440)
        await call.media.packets(50)
        print(call.media.stats(), call.media.hears([440]))
        await call.hangup()

`await phone.incoming()` gives the next call that comes in; it rings until `call.answer()`.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Self

from lab.voice.agent import Agent
from lab.voice.g711 import PCMA, PCMU
from lab.voice.legs import Credentials, Leg, Over
from lab.voice.media import Media
from lab.voice.message import Message, NameAddress, SipError, Uri
from lab.voice.sdp import EVENTS, Audio, Direction, SdpError
from lab.voice.transport import Peer, resolve

NAME = "StreamVerse NF lab phone"


class CallError(Exception):
    """A call, or a registration, was refused: `status` and `reason` of the response."""

    def __init__(self, status: int, reason: str, headers: dict[str, str]) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.headers = status, reason, headers


def _failed(response: Message) -> CallError:
    return CallError(response.status, response.reason, dict(response.headers))


class Call:
    """One call of a phone. `media` sends and measures; `remote`: the other party's address; `over`: how it ended."""

    def __init__(self, phone: Phone, leg: Leg) -> None:
        self.phone, self.leg = phone, leg
        self.media = Media(phone.media_address, phone.ports)
        self.over: Over | None = None
        self.early = asyncio.Event()
        """The other side rings, or has described early media."""
        self.transfers: asyncio.Queue[int] = asyncio.Queue()
        """Statuses of a transfer that we asked for, as the other side tells them."""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._held: Direction = "sendrecv"
        self._dialling = False
        leg.over, leg.offered, leg.referred, leg.told = self._over, self._offered, self._referred, self._told
        leg.described = self._described
        self.media.open()

    @property
    def remote(self) -> NameAddress:
        return self.leg.remote

    @property
    def call_id(self) -> str:
        return self.leg.call_id

    # Ours.

    async def answered(self) -> Call:
        """Waits for it. Raises CallError."""
        await asyncio.shield(self._answered)
        return self

    async def ended(self) -> Over:
        """Waits until the call is over, whoever ends it."""
        await self._ended.wait()
        assert self.over is not None  # noqa: S101 - set with the event
        return self.over

    async def hangup(self) -> None:
        """Ends it in whichever state, and waits until it is over."""
        self.leg.hangup()
        await self._ended.wait()

    def dtmf(self, keys: str) -> None:
        """Sends telephone events, 160 ms each. Raises ValueError."""
        self.media.dtmf(keys)

    async def hold(self) -> None:
        """The other side is sent nothing and asked to send nothing it need not: RFC 3264 section 8.4."""
        await self._change("sendonly")

    async def resume(self) -> None:
        await self._change("sendrecv")

    async def transfer(self, target: str) -> int:
        """REFER; the first final status that the other side tells of the new call. Raises CallError."""
        uri = self.phone.uri_of(target)
        headers = (
            ("refer-to", f"<{uri}>"),
            ("referred-by", f"<{self.phone.identity.uri}>"),
            ("contact", self.leg.contact),
        )
        response = await self.leg.request("REFER", b"", headers)
        if response.status >= 300:
            raise _failed(response)
        while (status := await self.transfers.get()) < 200:
            pass
        return status

    def ring(self, status: int = 180) -> None:
        self.leg.progress(status)

    async def answer(self) -> Call:
        """An incoming call. Raises CallError with 488 when the offer has nothing for us."""
        offer = self.leg.incoming.body if self.leg.incoming is not None else b""
        try:
            body = self._offered(offer) if offer else self._description()
        except SdpError as error:
            self.leg.refuse(488)
            raise CallError(488, str(error), {}) from error
        self.leg.accept(body)
        if not self._answered.done():
            self._answered.set_result(None)
        return self

    def refuse(self, status: int = 486) -> None:
        self.leg.refuse(status)

    async def dial(self, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Sends the INVITE; the phone calls it."""
        self._dialling = True
        try:
            response = await self.leg.invite(self._description(), headers, self._progress)
        except SipError as error:
            response = Message(status=400, reason=str(error))
        self._dialling = False
        if 200 <= response.status < 300:
            self._described(response.body)
            self.early.set()
            if not self._answered.done():
                self._answered.set_result(None)
            return
        if not self._answered.done():
            self._answered.set_exception(_failed(response))
            self._answered.exception()  # whoever does not ask is not told
        self._over(Over(local=False, status=response.status))

    # The other side's.

    def _progress(self, response: Message) -> None:
        if response.body:
            self._described(response.body)
        self.early.set()

    def _described(self, body: bytes) -> None:
        try:
            theirs = Audio.parse(body)
        except SdpError:
            return
        if theirs.codecs:
            self.media.start(theirs, theirs.codecs[0], theirs.events)

    def _description(self) -> bytes:
        offer = Audio(self.media.host, self.media.port, self.phone.codecs, self.phone.events, self._held)
        return offer.encode(user=self.phone.user)

    def _offered(self, body: bytes) -> bytes:
        if not body:
            return self._description()
        theirs = Audio.parse(body)
        ours = theirs.answered(self.media.host, self.media.port, codecs=self.phone.codecs)
        self.media.start(theirs, ours.codecs[0], theirs.events)
        return ours.encode(user=self.phone.user)

    async def _change(self, direction: Direction) -> None:
        self._held = direction
        response = await self.leg.reinvite(self._description())
        if response.status >= 300:
            raise _failed(response)
        self._described(response.body)
        if direction == "sendonly":
            self.media.sending = False

    def _referred(self, target: NameAddress) -> bool:
        self.phone.spawn(self._follow(target))
        return True

    async def _follow(self, target: NameAddress) -> None:
        self.leg.notify(100, "Trying", over=False)
        call = await self.phone.call(str(target.uri))
        self.phone.transferred.put_nowait(call)
        try:
            await call.answered()
        except CallError as error:
            self.leg.notify(error.status, error.reason, over=True)
            return
        self.leg.notify(200, "OK", over=True)

    def _told(self, request: Message) -> None:
        words = request.body.split()
        if request.get("event").startswith("refer") and len(words) > 1 and words[1].isdigit():
            self.transfers.put_nowait(int(words[1]))

    def _over(self, cause: Over) -> None:
        if self.over is not None:
            return
        self.over = cause
        self.media.close()
        if not self._answered.done() and not self._dialling:
            self._answered.set_exception(CallError(cause.status, cause.method or "the call is over", {}))
            self._answered.exception()
        self.phone.calls.pop(self.call_id, None)
        self._ended.set()


class Phone:
    """proxy: `HOST:PORT`, where requests go first; `tcp:HOST:PORT` by TCP; None: to whom the target names.

    domain       of its own address, sip:user@domain; that of targets which are only a number
    ports        of RTP; codecs: offered, by preference; events: payload type of telephone events, 0 offers none
    calls        those that are not over; `transferred`: calls that the phone made because it was asked to (REFER)
    """

    def __init__(  # noqa: PLR0917 - an address, an account, a proxy: as they are said
        self,
        address: str,
        port: int,
        user: str,
        domain: str,
        password: str = "",
        proxy: str | None = None,
        *,
        ports: tuple[int, int] = (20000, 29998),
        codecs: tuple[int, ...] = (PCMU, PCMA),
        events: int = EVENTS,
        media_address: str | None = None,
    ) -> None:
        self.user, self.domain = user, domain
        self.identity = NameAddress(Uri(user, domain))
        self.ports, self.codecs, self.events = ports, codecs, events
        self.media_address = media_address or address
        self.calls: dict[str, Call] = {}
        self.transferred: asyncio.Queue[Call] = asyncio.Queue()
        self.registered = False
        self._held = Credentials(user, password) if password else None
        self._proxy = _peer_of(proxy) if proxy else None
        self._agent = Agent(address, port, NAME, user=user)
        self._agent.invited = self._invited
        self._incoming: asyncio.Queue[Call] = asyncio.Queue()
        self._opened = False
        self._registration = f"{secrets.token_hex(12)}@{address}"
        self._number = 0

    @property
    def port(self) -> int:
        """Of SIP; known once it is open, when 0 was asked for."""
        return self._agent.layer.endpoint.port

    async def open(self) -> None:
        """Raises OSError. Every other method does it first where it was not done."""
        if not self._opened:
            await self._agent.open()
            self._opened = True

    async def close(self) -> None:
        """Ends calls, waiting a second for those who do not answer."""
        calls = list(self.calls.values())
        for call in calls:
            call.leg.hangup()
        await self._agent.settle(1.0)
        for call in calls:
            call.media.close()
        await self._agent.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def spawn(self, work: Any) -> None:
        self._agent.spawn(work)

    def uri_of(self, target: str) -> Uri:
        """Raises SipError."""
        if target.startswith(("sip:", "sips:", "tel:")):
            return Uri.parse(target)
        return Uri.parse(f"sip:{target}" if "@" in target else f"sip:{target}@{self.domain}")

    async def register(self, expires: int = 3600) -> int:
        """Seconds that the registrar grants; 0 takes the registration back. Raises CallError."""
        await self.open()
        self._number += 2
        registrar = Uri("", self.domain)
        suffix = ";transport=tcp" if self._proxy is not None and self._proxy.transport == "tcp" else ""
        tagged = NameAddress(self.identity.uri, "", {"tag": secrets.token_hex(6)})
        contact = f"<sip:{self.user}@{self._agent.at}{suffix}>"
        request = Message(method="REGISTER", uri=str(registrar))
        request.add(("max-forwards", "70"), ("from", str(tagged)), ("to", str(self.identity)))
        request.add(("call-id", self._registration), ("cseq", f"{self._number} REGISTER"))
        request.add(("contact", contact), ("expires", str(expires)))
        response = await self._agent.ask(request, self._first(registrar), self._held)
        if response.status != 200:
            raise _failed(response)
        self.registered = expires > 0
        return _granted(response, contact, expires)

    async def options(self, target: str) -> int:
        """OPTIONS: the status of the answer."""
        await self.open()
        uri = self.uri_of(target)
        request = Message(method="OPTIONS", uri=str(uri))
        request.add(("max-forwards", "70"), ("from", f"{self.identity};tag={secrets.token_hex(6)}"), ("to", f"<{uri}>"))
        request.add(("call-id", secrets.token_hex(12)), ("cseq", "1 OPTIONS"))
        return (await self._agent.ask(request, self._first(uri), self._held)).status

    async def call(self, target: str, *, headers: tuple[tuple[str, str], ...] = ()) -> Call:
        """Begins a call; `await call.answered()` waits. target: number, user@domain, or SIP URI. Raises SipError."""
        await self.open()
        uri = self.uri_of(target)
        leg = self._agent.leg(self.identity, uri, via=self._first(uri), held=self._held)
        call = Call(self, leg)
        self.calls[call.call_id] = call
        self._agent.spawn(call.dial(headers))
        return call

    async def incoming(self) -> Call:
        """The next call that comes in; it has been told that we ring."""
        await self.open()
        return await self._incoming.get()

    def _first(self, uri: Uri) -> Peer:
        return self._proxy or resolve(uri.transport, uri.host, uri.port)

    def _invited(self, leg: Leg) -> None:
        leg.credentials = self._held
        call = Call(self, leg)
        self.calls[call.call_id] = call
        call.ring()
        self._incoming.put_nowait(call)


def _peer_of(text: str) -> Peer:
    """Raises SipError."""
    transport, colon, rest = text.partition(":")
    if transport not in ("udp", "tcp") or not colon:
        transport, rest = "udp", text
    uri = Uri.parse(f"sip:{rest}")
    return resolve(transport, uri.host, uri.port)


def _granted(response: Message, contact: str, asked: int) -> int:
    for one in response.all("contact"):
        try:
            found = NameAddress.parse(one)
        except SipError:
            continue
        if str(found.uri) == contact.strip("<>") and found.params.get("expires", "").isdecimal():
            return int(found.params["expires"])
    expires = response.get("expires")
    return int(expires) if expires.isdecimal() else asked


if __name__ == "__main__":
    from lab.voice.phone_program import main

    main()
