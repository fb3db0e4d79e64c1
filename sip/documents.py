"""What the voice core adds to the documents: the fleet's equipment `voice`.

Sections of appliances stand with their drivers: `sip.kamailio.documents`, `sip.rtpengine.documents`,
`sip.freeswitch.documents`, `sip.webrtc.documents`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nf.documents.model import (
    Address,
    DocumentModel,
    Form,
    InterfaceAddress,
    InterfaceName,
    Name,
    Port,
    RuleError,
    Whole,
)
from nf.documents.registry import Extension

EQUIPMENT = "voice"

MAX_DENSITY = 0xFFFF
"""pike keeps `reqs_density_per_unit` in 16 bits, and wraps without a word."""

DomainName = Annotated[
    str,
    Form(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+",
        "a SIP domain is a DNS name of two labels or more, in lower case (RFC 3261 section 25.1)",
        "write it as voice.streamverse.test",
    ),
]
User = Annotated[
    str,
    Form(
        r"\+?[A-Za-z0-9._-]{1,64}",
        "the user part is letters, digits, dots, hyphens and underscores, perhaps with a + before them",
        "write it as alice or +4930123456",
    ),
]
Digits = Annotated[
    str,
    Form(r"\+?[0-9*#]{1,24}", "a dialled number is digits, * and #, perhaps with a + before them", 'write it as "112"'),
]
Prefix = Annotated[
    str,
    Form(r"\+?[0-9*#]{0,15}", "a prefix is the first digits of what is dialled", 'write it as "+49" or "00"'),
]
SecretRef = Annotated[
    str,
    Form(
        r"secret:[a-z][a-z0-9-]{0,38}",
        "credentials are never written into a document: they are named",
        "write it as secret:voice-accounts",
    ),
]
Key = Annotated[str, Form(r"[0-9*#]", "a key of the telephone is a digit, * or #", 'write it as "1"')]
Weight = Annotated[Whole, Field(ge=1, le=100)]
Transport = Literal["udp", "tcp", "tls", "ws", "wss"]
Codec = Literal["PCMA", "PCMU", "G722", "G729", "opus"]
"""What Debian's relay makes of one another, both ways."""


class Listener(DocumentModel):
    """Where a proxy takes SIP: RFC 3261 (udp, tcp, tls), RFC 7118 (ws, wss)."""

    transport: Transport
    port: Port


class Proxy(DocumentModel):
    """Kamailio: proxy, registrar and router of calls.

    address      of all its listeners, on `appliance`
    region       whose relays it prefers
    certificate  PEM, certificate chain and private key in one; None with a tls or wss listener: one that the appliance
                 makes for itself, which only a lab's clients accept
    workers      processes for each listener
    """

    id: Name
    appliance: Name
    address: Address
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)] = (
        Listener(transport="udp", port=5060),
        Listener(transport="tcp", port=5060),
    )
    region: Name = "default"
    certificate: SecretRef | None = None
    workers: Annotated[Whole, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        ports = [("tcp" if one.transport != "udp" else "udp", one.port) for one in self.listeners]
        if len({*ports}) != len(ports):
            raise RuleError("two listeners share a port", "udp has ports of its own; tcp, tls, ws and wss share theirs")
        return self


class VirtualAddress(DocumentModel):
    """An address that one of two proxies has at a time, by VRRP (RFC 5798): the first of `proxies` while it is well.

    `interface` is that of both appliances on the segment which they share.
    """

    id: Name
    address: InterfaceAddress
    interface: InterfaceName
    proxies: Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]
    vrid: Annotated[Whole, Field(ge=1, le=255)]


class Relay(DocumentModel):
    """RTPengine: every call's media goes by one, whoever calls.

    address      of media, on `appliance`; `advertised`: what callers are told in its place (behind NAT)
    control      UDP port of the ng protocol, at `address`
    ports        RTP and RTCP, first and last
    weight       its share among the relays of its region
    drained      takes no new call; those that it has go on
    partner      takes its calls over when it dies, by way of a Redis (RTP and SDES; DTLS begins anew)
    """

    id: Name
    appliance: Name
    address: Address
    advertised: Address | None = None
    control: Port = 2223
    ports: tuple[Port, Port] = (30000, 39999)
    region: Name = "default"
    weight: Weight = 50
    drained: bool = False
    partner: Name | None = None

    @model_validator(mode="after")
    def _some_ports(self) -> Self:
        first, last = self.ports
        if last - first < 99:
            raise RuleError("a relay needs 100 ports or more: four for each call", "write ports: [30000, 39999]")
        return self


class MediaServer(DocumentModel):
    """FreeSWITCH: conferences, announcements, voicemail. `sessions`: how many calls it takes at once."""

    id: Name
    appliance: Name
    address: Address
    port: Port = 5080
    control: Port = 8021
    password: SecretRef
    weight: Weight = 50
    sessions: Annotated[Whole, Field(ge=1, le=100_000)] = 1000
    drained: bool = False


class Gateway(DocumentModel):
    """One peer of a trunk. What comes from its address is the trunk's."""

    address: Address
    port: Port = 5060
    transport: Literal["udp", "tcp", "tls"] = "udp"
    weight: Weight = 50
    priority: Annotated[Whole, Field(ge=0, le=100)] = 0


class Trunk(DocumentModel):
    """Another network. `calls`: at once, both ways; `permitted`: what it may call here, by prefix; empty: subscribers.

    Gateways of the highest priority are tried first; the others when none of those answers.

    codecs  what it is offered, the best first, made by a relay of what callers have, and back; empty: whatever that is
    """

    id: Name
    gateways: Annotated[tuple[Gateway, ...], Field(min_length=1)]
    calls: Annotated[Whole, Field(ge=1)] | None = None
    permitted: tuple[Prefix, ...] = ()
    codecs: tuple[Codec, ...] = ()


class Service(DocumentModel):
    """A number that a media server answers.

    conference  a room that mixes all who call it; `ivr`: a menu by DTMF, `options`: key -> number;
    voicemail   the caller's box; echo: gives back what it hears
    """

    number: Digits
    kind: Literal["conference", "ivr", "voicemail", "echo"]
    options: Annotated[
        dict[Annotated[str, Form(r"[0-9*#]", "a key of the telephone", "")], Digits], Field(default_factory=dict)
    ]

    @model_validator(mode="after")
    def _menus_have_options(self) -> Self:
        if (self.kind == "ivr") != bool(self.options):
            raise RuleError("options are what a menu has, and only a menu", 'write options: {"1": "9001"} at kind: ivr')
        return self


class Route(DocumentModel):
    """Of the number plan: the longest `prefix` of what is dialled says which trunks are tried, in order.

    `strip` digits are taken away first and `prepend` is put before the rest.
    """

    prefix: Prefix
    trunks: Annotated[tuple[Name, ...], Field(min_length=1)]
    strip: Annotated[Whole, Field(ge=0, le=15)] = 0
    prepend: Prefix = ""


class Emergency(DocumentModel):
    """Numbers that are never limited, queued, blocked or drained away: anybody may call them, registered or not."""

    numbers: Annotated[tuple[Digits, ...], Field(min_length=1)] = ("112",)
    trunks: Annotated[tuple[Name, ...], Field(min_length=1)]


class Subscriber(DocumentModel):
    """An account with something of its own; one that is in `accounts` alone has the defaults of `limits`.

    numbers  that lead to it too (E.164); the first is what the called party is shown
    calls    at once; `barred`: calls nothing but emergency numbers
    """

    user: User
    domain: DomainName
    numbers: tuple[Digits, ...] = ()
    calls: Annotated[Whole, Field(ge=1)] | None = None
    barred: bool = False


class Limits(DocumentModel):
    """calls_per_subscriber, contacts: at once; `calls`: of a proxy, at once; `rate`: new calls of a proxy in a second.

    registration: seconds that a registration may last, least and most
    """

    calls_per_subscriber: Annotated[Whole, Field(ge=1, le=1000)] = 4
    contacts: Annotated[Whole, Field(ge=1, le=100)] = 5
    calls: Annotated[Whole, Field(ge=1)] = 10_000
    rate: Annotated[Whole, Field(ge=1)] = 500
    registration: tuple[Annotated[Whole, Field(ge=30)], Annotated[Whole, Field(le=86_400)]] = (60, 3600)
    call_seconds: Annotated[Whole, Field(ge=60, le=86_400)] = 14_400


class Protection(DocumentModel):
    """Against floods: who sends more than `density` requests in `window` seconds is not heard for `ban` seconds.

    failures: wrong passwords of one address within `ban` seconds that have the same effect
    """

    window: Annotated[Whole, Field(ge=1, le=60)] = 2
    density: Annotated[Whole, Field(ge=10, le=MAX_DENSITY)] = 200
    ban: Annotated[Whole, Field(ge=5, le=86_400)] = 60
    failures: Annotated[Whole, Field(ge=1, le=1000)] = 10


class Stir(DocumentModel):
    """Caller identity (RFC 8224, RFC 8225): calls to trunks are signed with `key`, named by `certificate`, a URL.

    attestation  A: the caller is ours and may use the number
    """

    key: SecretRef
    certificate: Annotated[str, Form(r"https://[^\s\"]{1,300}", "a certificate is named by an https URL", "")]


WebrtcPlugin = Literal["audiobridge", "echotest", "sip", "videoroom"]


class WebrtcGateway(DocumentModel):
    """Janus: browsers' rooms and calls.

    advertised   what browsers are told in place of `address` (behind NAT)
    port         TCP, of its API: WebSocket
    admin        TCP on loopback, of its administration, which the agent alone has the secret of
    ports        UDP, of media, first and last
    plugins      what browsers may do there
    secret       of the tokens by which they may, and which expire
    certificate  PEM, certificate chain and private key in one; None: WebSocket without TLS, as behind one that ends it
    drained      begins nothing new; what is there goes on
    """

    id: Name
    appliance: Name
    address: Address
    advertised: Address | None = None
    port: Port = 8188
    admin: Port = 7889
    ports: tuple[Port, Port] = (20000, 24999)
    plugins: Annotated[tuple[WebrtcPlugin, ...], Field(min_length=1)] = ("audiobridge", "echotest", "sip", "videoroom")
    secret: SecretRef
    certificate: SecretRef | None = None
    drained: bool = False


class Turn(DocumentModel):
    """coturn: STUN and TURN (RFC 8489, RFC 8656) for browsers.

    advertised   what browsers are told in place of `address` (behind NAT)
    port         UDP and TCP; `secure`: TLS and DTLS, with a `certificate` alone
    ports        UDP, of relayed media, first and last
    secret       of the credentials by which browsers may, and which expire; another one is told without a restart
    reach        core: it relays to media relays and gateways alone; internet: to whatever is no network of our own
    per_user, allocations  at once
    drained      allocates nothing new; what is there goes on
    """

    id: Name
    appliance: Name
    address: Address
    advertised: Address | None = None
    port: Port = 3478
    secure: Port = 5349
    ports: tuple[Port, Port] = (49152, 52000)
    secret: SecretRef
    certificate: SecretRef | None = None
    reach: Literal["core", "internet"] = "core"
    per_user: Annotated[Whole, Field(ge=1, le=1000)] = 10
    allocations: Annotated[Whole, Field(ge=1, le=30_000)] = 1000
    drained: bool = False

    @model_validator(mode="after")
    def _a_port_each(self) -> Self:
        first, last = self.ports
        if first <= last < first + self.allocations - 1:
            rule = f"{self.allocations:,} allocations need as many ports, and these are {last - first + 1:,}"
            raise RuleError(rule, "write more ports, or fewer allocations")
        return self


class TestCall(DocumentModel):
    """A call placed every `interval` seconds to prove that calls get through and sound well.

    appliance    calls from there: of role probe, or a PoP
    proxy        that it goes by: a proxy's id, or a virtual address's
    caller       account that calls; `called`: account or number that is called
    credentials  lines `user:domain:HA1` of the accounts that the test is known by
    answered_by  appliance that answers `called`: its own measures both ways exactly. None: a service answers it
    seconds      that the parties talk; `least_mos`: estimate of the mean opinion score below which it is not up
    """

    __test__ = False  # no class of tests, whatever its name

    id: Name
    appliance: Name
    proxy: Name
    domain: DomainName | None = None
    caller: User
    called: User | Digits
    credentials: SecretRef
    answered_by: Name | None = None
    seconds: Annotated[Whole, Field(ge=1, le=60)] = 5
    interval: Annotated[Whole, Field(ge=10, le=3600)] = 60
    least_mos: Annotated[float, Field(ge=1, le=4.4)] = 3.6


class Voice(DocumentModel):
    """Part `voice` of a fleet's equipment.

    accounts          file of `user:domain:HA1` lines (htdigest; HA1 by MD5, RFC 2617 section 3.2.2.2). No password
                      is anywhere
    topology_hiding   trunks see nothing of the network behind the proxy
    nat               callers behind NAT are answered where they came from (RFC 3581), and kept reachable by pings
    """

    domains: Annotated[tuple[DomainName, ...], Field(min_length=1)]
    accounts: SecretRef
    proxies: Annotated[tuple[Proxy, ...], Field(min_length=1)]
    relays: Annotated[tuple[Relay, ...], Field(min_length=1)]
    media_servers: tuple[MediaServer, ...] = ()
    services: tuple[Service, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    plan: tuple[Route, ...] = ()
    emergency: Emergency | None = None
    subscribers: tuple[Subscriber, ...] = ()
    limits: Limits = Limits()
    protection: Protection = Protection()
    topology_hiding: bool = True
    nat: bool = True
    stir: Stir | None = None
    virtual_addresses: tuple[VirtualAddress, ...] = ()
    gateways: tuple[WebrtcGateway, ...] = ()
    turns: tuple[Turn, ...] = ()
    tests: tuple[TestCall, ...] = ()


EXTENSION = Extension(equipment={EQUIPMENT: Voice})
