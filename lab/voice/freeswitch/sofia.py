"""mod_sofia: SIP profiles of sofia.conf, and the channels that their calls become."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.voice import MODEL, VERSION
from lab.voice.agent import Agent
from lab.voice.freeswitch import acl
from lab.voice.freeswitch import channel as channels
from lab.voice.freeswitch.registrar import Registrar
from lab.voice.freeswitch.xmlconf import params, true
from lab.voice.legs import ALLOW, Credentials, Leg
from lab.voice.media import Media
from lab.voice.message import Message, NameAddress, SipError, Uri
from lab.voice.sdp import Audio, SdpError
from lab.voice.transactions import ServerTransaction
from lab.voice.transport import resolve

if TYPE_CHECKING:
    from lab.voice.freeswitch.core import Switch

BUSY = "Maximum Calls In Progress"
_NOT_MODELLED = ("tls", "ws-binding", "wss-binding", "disable-transcoding", "rtp-secure-media", "apply-candidate-acl")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Of a profile. Registrations with gateways are not modelled."""

    name: str
    params: dict[str, str]

    def uri(self, number: str) -> str:
        proxy = self.params.get("proxy") or self.params.get("realm") or ""
        transport = self.params.get("register-transport", "")
        suffix = f";transport={transport}" if transport in ("udp", "tcp") else ""
        return f"sip:{number}@{proxy.removeprefix('sip:')}{suffix}"


class Profile:
    """One SIP user agent. `running` once it has its port."""

    def __init__(self, switch: Switch, element: ET.Element) -> None:
        self.switch, self.name = switch, element.get("name", "")
        self.params = params(element)
        self.lists = [
            one.get("value", "") for one in element.iterfind("settings/param") if one.get("name") == "apply-inbound-acl"
        ]
        self.aliases = [one.get("name", "") for one in element.iterfind("aliases/alias")]
        self.gateways = {
            one.get("name", ""): Gateway(one.get("name", ""), params(one, "param"))
            for one in element.iterfind("gateways/gateway")
        }
        port = self.params.get("sip-port", "5060")
        self.address = self.params.get("sip-ip") or switch.identity.address
        self.port = int(port) if port.isdecimal() else 5060
        self.media_address = self.params.get("rtp-ip") or self.address
        name = self.params.get("user-agent-string") or f"FreeSWITCH-mod_sofia/{VERSION}"
        self.agent = Agent(self.address, self.port, f"{name} {MODEL}", user="mod_sofia")
        self.agent.invited, self.agent.asked = self._invited, self._asked
        self.registrar = Registrar(self)
        self.running = False
        self.calls_in = self.calls_out = self.failed_in = self.failed_out = 0

    async def start(self) -> None:
        for name in _NOT_MODELLED:
            if true(self.params.get(name)) or (self.params.get(name) and name.endswith("binding")):
                self.switch.journal.warning(f"profile {self.name}: {name} is not modelled")
        try:
            await self.agent.open()
        except OSError as error:
            self.switch.journal.error(f"Error Creating SIP UA for profile: {self.name} ({self.url}) {error.strerror}")
            return
        self.running = True
        self.switch.journal.notice(f"Started Profile {self.name} [{self.url}]")

    async def stop(self) -> None:
        self.running = False
        await self.agent.close()

    @property
    def url(self) -> str:
        return f"sip:mod_sofia@{self.address}:{self.port}"

    @property
    def in_use(self) -> list[channels.Channel]:
        return [one for one in self.switch.channels.values() if one.variables.get("sofia_profile_name") == self.name]

    # Requests outside of calls.

    def _asked(self, server: ServerTransaction) -> bool:
        method = server.request.method
        full = len(self.switch.channels) >= self.switch.max_sessions or not self.switch.accepts_inbound
        if method == "OPTIONS":
            if full and true(self.params.get("sip-options-respond-503-on-busy")):
                server.respond(503, BUSY)
            else:
                headers = (("allow", ALLOW), ("accept", "application/sdp"), ("supported", "timer, path, replaces"))
                server.respond(200, "", (("contact", f"<sip:{self.address}:{self.port}>"), *headers))
            return True
        if method == "REGISTER":
            self.registrar.register(server)
            return True
        return False

    # Calls that come in.

    def _invited(self, leg: Leg) -> None:
        switch, server = self.switch, leg.server
        if server is None or leg.incoming is None:
            return
        full = len(switch.channels) >= switch.max_sessions
        if full or not switch.accepts_inbound or not self.running:
            self.failed_in += 1
            leg.refuse(503, BUSY, (("retry-after", "300"),))
            return
        if not self._permitted(leg, server):
            return
        media = Media(self.media_address, switch.ports)
        try:
            media.open()
        except OSError as error:
            switch.journal.critical(f"No RTP port: {error.strerror}")
            leg.refuse(503, BUSY, (("retry-after", "300"),))
            return
        made = self._channel(leg, media, leg.incoming)
        if not switch.begins(made):
            media.close()
            leg.over = None
            leg.refuse(503, BUSY, (("retry-after", "300"),))
            return
        self.calls_in += 1
        self._describe(made, leg.incoming.body)

    def _permitted(self, leg: Leg, server: ServerTransaction) -> bool:
        """By address, or by digest when `auth-calls` says so; else it is refused here."""
        listed = any(acl.allowed(self.switch.registry, one, server.peer.host) for one in self.lists)
        if listed or (not self.lists and not true(self.params.get("auth-calls"))):
            return True
        if not true(self.params.get("auth-calls")):
            self.switch.journal.warning(f'IP {server.peer.host} Rejected by acl "{self.lists[0]}"')
            leg.refuse(403)
            return False
        domain = self.params.get("force-register-domain") or leg.remote.uri.host
        verdict = self.registrar.verdict(server.request, domain, proxy=True)
        if verdict == "none":
            leg.refuse(407, "", self.registrar.challenge(domain, proxy=True))
        elif verdict == "bad":
            self.switch.journal.warning(
                f"SIP auth failure (INVITE) on sofia profile '{self.name}' for [{leg.remote.uri}]"
            )
            leg.refuse(403)
        return verdict == "good"

    def _channel(self, leg: Leg, media: Media, invite: Message) -> channels.Channel:
        user, host = leg.remote.uri.user, leg.remote.uri.host
        try:
            number = Uri.parse(invite.uri).user
        except SipError:
            number = leg.local.uri.user
        assert leg.server is not None  # noqa: S101 - it came in
        peer = leg.server.peer
        profile = channels.Profile(
            destination_number=number,
            caller_id_name=leg.remote.display or user,
            caller_id_number=user,
            context=self.params.get("context", "default"),
            network_addr=peer.host,
            username=user,
            dialplan=self.params.get("dialplan", "XML"),
        )
        name = f"sofia/{self.name}/{user}@{host}" if user else f"sofia/{self.name}/{host}"
        made = channels.Channel(self.switch, leg, media, name=name, profile=profile, direction="inbound")
        made.variables |= {
            "sip_from_user": user, "sip_from_host": host, "sip_to_user": leg.local.uri.user,
            "sip_to_host": leg.local.uri.host, "sip_req_user": number, "sip_call_id": leg.call_id,
            "sip_network_ip": peer.host, "sip_network_port": str(peer.port), "sip_via_protocol": peer.transport,
            "sip_user_agent": invite.get("user-agent"), "sip_contact_uri": str(leg.target),
        }  # fmt: skip
        made.variables |= {f"sip_h_{_spelled(key)}": value for key, value in invite.headers if key.startswith("x-")}
        self._common(made)
        account = self.switch.registry.user(user, host)
        made.variables |= account[1] if account is not None else {}
        made.profile = replace(made.profile, context=made.variables.get("user_context", made.profile.context))
        return made

    def _common(self, made: channels.Channel) -> None:
        made.variables |= {"uuid": made.uuid, "call_uuid": made.call_uuid, "sofia_profile_name": self.name}
        made.variables |= {"channel_name": made.name, "direction": made.direction}
        made.leg.offered = lambda body: self._offered(made, body)
        made.leg.described = lambda body: self._accepted(made, body)
        made.leg.referred = lambda target: self._referred(made, target)
        made.leg.told = lambda request: _told(made, request)

    def _describe(self, made: channels.Channel, body: bytes) -> None:
        if body:
            try:
                theirs = Audio.parse(body)
                ours = theirs.answered(made.media.host, made.media.port)
            except SdpError as error:
                self.switch.journal.error(f"{made.name} {error}")
                made.hangup("INCOMPATIBLE_DESTINATION")
                return
            made.described(theirs, ours)
        made.start(lambda: self.switch.route(made))

    @staticmethod
    def _offered(made: channels.Channel, body: bytes) -> bytes:
        if not body:
            return made.description()
        theirs = Audio.parse(body)
        ours = theirs.answered(made.media.host, made.media.port)
        made.described(theirs, ours)
        made.hold(theirs=theirs.direction in ("sendonly", "inactive"))
        return ours.encode(user="FreeSWITCH")

    @staticmethod
    def _accepted(made: channels.Channel, body: bytes) -> None:
        try:
            theirs = Audio.parse(body)
        except SdpError:
            made.hangup("INCOMPATIBLE_DESTINATION")
            return
        if theirs.codecs:
            made.described(theirs)

    def _referred(self, made: channels.Channel, target: NameAddress) -> bool:
        """Blind: the other one of a bridge is sent there; a channel that is alone is not moved."""
        other = made.peer
        if other is None:
            self.switch.journal.error(f"{made.name} Cannot transfer channels that are not in a bridge.")
            return False
        made.leg.notify(200, "OK", over=True)
        other.variables["sip_refer_to"] = str(target)
        other.transfer(target.uri.user, "XML", made.profile.context)
        made.hangup("BLIND_TRANSFER")
        return True

    # Calls that go out.

    def dial(
        self, uri: str, caller: channels.Channel | None, given: dict[str, str], gateway: Gateway | None
    ) -> channels.Channel | None:
        """Begins; None when a limit is reached or the address is none."""
        text = uri if uri.startswith(("sip:", "sips:")) else f"sip:{uri}"
        try:
            target = Uri.parse(text)
            peer = resolve(target.transport, target.host, target.port)
        except SipError as error:
            self.switch.journal.error(f"{uri}: {error}")
            return None
        number = given.get("origination_caller_id_number") or (
            caller.profile.caller_id_number if caller else "0000000000"
        )
        shown = given.get("origination_caller_id_name") or (caller.profile.caller_id_name if caller else "")
        domain = given.get("sip_invite_domain") or self.address
        known = gateway.params if gateway is not None else {}
        held = Credentials(known.get("username", ""), known["password"]) if known.get("password") else None
        leg = self.agent.leg(NameAddress(Uri(number, domain), shown), target, via=peer, held=held)
        media = Media(self.media_address, self.switch.ports)
        media.open()
        profile = channels.Profile(target.user, shown, number, self.params.get("context", "default"), peer.host)
        name = f"sofia/{self.name}/{text.removeprefix('sip:')}"
        made = channels.Channel(self.switch, leg, media, name=name, profile=profile, direction="outbound")
        if given.get("origination_uuid"):
            made.uuid = made.call_uuid = given["origination_uuid"]
        if not self.switch.begins(made):
            media.close()
            return None
        self.calls_out += 1
        made.variables |= given | {"sip_call_id": leg.call_id, "is_outbound": "true"}
        self._common(made)
        made.fire("CHANNEL_OUTGOING")
        made.fire("CHANNEL_ORIGINATE")
        made.set_state("CS_CONSUME_MEDIA")
        headers = tuple((key[6:].lower(), value) for key, value in given.items() if key.startswith("sip_h_"))
        self.agent.spawn(self._call(made, headers))
        return made

    async def _call(self, made: channels.Channel, headers: tuple[tuple[str, str], ...]) -> None:
        response = await made.leg.invite(made.description(), headers, lambda heard: self._progress(made, heard))
        if made.up and response.status < 300:
            self._accepted(made, response.body)
            if made.up:
                made.is_answered()
        elif response.status >= 300:
            self.failed_out += 1
            made.variables["sip_invite_failure_status"] = str(response.status)

    def _progress(self, made: channels.Channel, response: Message) -> None:
        if not made.up:
            return
        if response.body and not made.progressed:
            self._accepted(made, response.body)
            made.progressed = time.time()
            made.set_callstate("EARLY")
            made.fire("CHANNEL_PROGRESS_MEDIA")
        elif response.status == 180 and made.callstate == "DOWN":
            made.set_callstate("RINGING")
            made.fire("CHANNEL_PROGRESS")


def _told(made: channels.Channel, request: Message) -> None:
    """INFO: keys of phones without RFC 4733."""
    if request.method == "INFO" and request.get("content-type").startswith("application/dtmf"):
        text = request.body.decode("ascii", "replace")
        signal = next(
            (line.partition("=")[2] for line in text.splitlines() if line.lower().startswith("signal=")), text
        )
        if signal.strip():
            made.keyed(signal.strip()[0])


def _spelled(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


async def start(switch: Switch) -> None:
    """Every profile of sofia.conf."""
    config = switch.registry.configuration("sofia.conf")
    if config is None:
        switch.journal.error("Open of sofia.conf failed")
        return
    for element in config.iterfind("profiles/profile"):
        profile = Profile(switch, element)
        switch.profiles[profile.name] = profile
        await profile.start()
