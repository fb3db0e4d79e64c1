"""Who has registered with a profile, and the digests of calls and registrations."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.voice import digest
from lab.voice.legs import Headers
from lab.voice.message import Message, NameAddress, SipError
from lab.voice.transactions import ServerTransaction

if TYPE_CHECKING:
    from lab.voice.freeswitch.sofia import Profile

NONCES = 1000
LONGEST = 3600


@dataclass(frozen=True, slots=True)
class Registration:
    user: str
    realm: str
    contact: str
    agent: str
    call_id: str
    host: str
    port: int
    expires: float


class Registrar:
    """Of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._held: dict[tuple[str, str], Registration] = {}
        self._nonces: dict[str, float] = {}

    def registrations(self) -> list[Registration]:
        now = time.time()
        self._held = {key: one for key, one in self._held.items() if one.expires > now}
        return list(self._held.values())

    def contact(self, user: str, domain: str) -> str:
        """Where that user is; empty when nowhere."""
        found = (one for one in self.registrations() if one.user == user and one.realm == domain)
        return next((one.contact for one in found), "")

    def challenge(self, domain: str, *, proxy: bool) -> Headers:
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = time.time()
        while len(self._nonces) > NONCES:
            del self._nonces[next(iter(self._nonces))]
        name = "proxy-authenticate" if proxy else "www-authenticate"
        return ((name, f'Digest realm="{domain}", nonce="{nonce}", algorithm=MD5, qop="auth"'),)

    def verdict(self, request: Message, domain: str, *, proxy: bool) -> str:
        """good, none (no credentials, or their nonce is not ours), bad."""
        value = request.get("proxy-authorization" if proxy else "authorization")
        given = digest.fields(value) if value else {}
        if given.get("nonce") not in self._nonces:
            return "none"
        known = self._profile.switch.registry.user(given.get("username", ""), given.get("realm", domain))
        if known is None:
            return "bad"
        try:
            wanted = digest.response(
                request.method, known[0].get("password", ""), given, ha1=known[0].get("a1-hash", "")
            )
        except KeyError:
            return "bad"
        return "good" if secrets.compare_digest(wanted, given.get("response", "")) else "bad"

    def register(self, server: ServerTransaction) -> None:
        """A REGISTER: 401, 403, or 200 with the contact."""
        request = server.request
        try:
            account = NameAddress.parse(request.get("to")).uri
        except SipError:
            server.respond(400)
            return
        domain = self._profile.params.get("force-register-domain") or account.host
        verdict = self.verdict(request, domain, proxy=False)
        if verdict == "none":
            server.respond(401, "", self.challenge(domain, proxy=False))
            return
        if verdict == "bad":
            self._profile.switch.journal.warning(
                f"SIP auth failure (REGISTER) on sofia profile '{self._profile.name}' for [{account}]"
            )
            server.respond(403)
            return
        self._keep(server, account.user, domain)

    def _keep(self, server: ServerTransaction, user: str, domain: str) -> None:
        request = server.request
        contact = request.get("contact")
        asked = request.get("expires") or "3600"
        try:
            found = NameAddress.parse(contact) if contact not in ("", "*") else None
        except SipError:
            server.respond(400)
            return
        asked = found.params.get("expires", asked) if found is not None else asked
        seconds = min(int(asked), LONGEST) if asked.isdecimal() else LONGEST
        headers = {"Event-Subclass": "sofia::register", "profile-name": self._profile.name, "from-user": user}
        headers |= {"from-host": domain, "contact": contact, "expires": str(seconds), "network-ip": server.peer.host}
        if found is None or not seconds:
            self._held.pop((user, domain), None)
            self._profile.switch.fire("CUSTOM", headers | {"Event-Subclass": "sofia::unregister"})
            server.respond(200)
            return
        self._held[user, domain] = Registration(
            user, domain, str(found.uri), request.get("user-agent"), request.get("call-id"), server.peer.host,
            server.peer.port, time.time() + seconds,
        )  # fmt: skip
        self._profile.switch.fire("CUSTOM", headers)
        server.respond(200, "", (("contact", f"<{found.uri}>;expires={seconds}"),))
