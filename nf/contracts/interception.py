"""The interception contract: what a domain shows of its subscribers' communications, and to whom.

A domain's observation point is a process of its own (own user, own unix socket). It runs wherever there is something
to observe, target or not, and answers `lawful_intercept` alone, which finds it by the entry points `nf.interception`.
It is an observation point beside the network functions and not a POI inside of them (TS 33.127): it has no X1, X2 or
X3; who calls it makes those.

Nobody else imports this module but the domains that implement it. What is under way here is in no journal, log, metric
or error, and texts of these types show nothing. Orders live in memory, for as long as the connection that gave them; if
their caller has said a word by which it comes back (`resume`), half a minute longer, where no order's own end comes
first. Only who says the word again has to do with them, and nobody else can tell that they are there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from nf.contracts.json import JsonObject

GROUP = "nf.interception"


class IdentityKind(Enum):
    """What a target is known by. Which of them a point can match: `InterceptionPoint.identities`."""

    SUPI = "supi"  # "imsi-001010000000001" (TS 29.571)
    GPSI = "gpsi"  # "msisdn-491700000001"
    PEI = "pei"  # "imei-...", "imeisv-..."; they match by TAC and serial number, which both have
    SIP_URI = "sip-uri"
    TEL_URI = "tel-uri"
    UE_ADDRESS = "ue-address"
    """Of a PDU session: an IPv4 address, or an IPv6 address or prefix that lies within one /64, which is what a UE has.

    It is about a session and not about its subscriber: matched is the session that has the address, while it has it,
    and nothing else of the same subscriber, no registration and no location. The session is told as begun when it takes
    the address and as ended when it gives it up. All of its packets are copied, whichever of its addresses they have.
    What more than one UE may have, such as a shorter prefix, is refused.
    """


class EventKind(Enum):
    REGISTRATION = "registration"
    REGISTRATION_STANDING = "registration-standing"  # it was there when the order came
    DEREGISTRATION = "deregistration"
    LOCATION = "location"
    SESSION_BEGIN = "session-begin"
    SESSION_STANDING = "session-standing"  # it was there when the order came
    SESSION_CHANGE = "session-change"
    SESSION_END = "session-end"
    MESSAGE = "message"  # one of signalling, in `octets` as it was on the wire


class Direction(Enum):
    FROM_TARGET = "from-target"
    TO_TARGET = "to-target"
    UNKNOWN = "unknown"


class ContentForm(Enum):
    """What `Content.octets` is."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    RTP = "rtp"  # header and payload, no UDP
    OTHER = "other"


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    kind: IdentityKind
    value: str


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """What is wanted of one target.

    reference  the caller's own word for it, without meaning here; everything that is delivered for it carries it
    events     registration, location, sessions, messages
    content    the name of the point at which packets are copied (`InterceptionPoint.copies`); "" = no content
    until      seconds since the epoch: what happens from then on is not observed, whoever is there or not; None: no end
    """

    reference: str
    identity: Identity
    events: bool = True
    content: str = ""
    until: float | None = None

    def over(self, at: float) -> bool:
        """Whether what happens at this time is not its matter any more."""
        return self.until is not None and at >= self.until


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that happened to a target.

    at          seconds since the epoch, when it was observed
    sequence    counts the events of an order from 0, so that a gap can be seen
    session     64 bits: the same for all that belongs to one session, its copies too; 0 = of no session.
                A session that begins after it has ended is another one with the same number
    identities  all that is known of whom it is about, the matched one among them; UE addresses are in `details`, and
                here where one of them was matched
    details     in the domain's own terms, with the names that its documents use
    octets      of a MESSAGE
    """

    reference: str
    kind: EventKind
    at: float
    sequence: int
    session: int
    identities: tuple[Identity, ...]
    details: JsonObject = field(default_factory=dict)
    octets: bytes = b""


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """A copy of one packet. `at_ns`: nanoseconds since the epoch, the kernel's time. `sequence` as in `Event`."""

    reference: str
    at_ns: int
    sequence: int
    session: int
    direction: Direction
    form: ContentForm
    octets: bytes


class LossPlace(Enum):
    KERNEL = "kernel"  # the copy did not fit the socket's buffer; of which order it was cannot be told
    QUEUE = "queue"  # the caller did not take it in time
    POINT = "point"  # the interface was away, or is another one now, or what passed could not be read as it should be


@dataclass(frozen=True, slots=True, repr=False)
class Loss:
    """What was not delivered since the last time this was told. None where nobody can count them."""

    reference: str
    place: LossPlace
    at: float
    events: int | None = 0
    copies: int | None = 0


Delivery = Event | Content | Loss


@dataclass(frozen=True, slots=True, repr=False)
class PointStatus:
    """sources  where events come from, and whether each can be read now
    copies   where packets can be copied, and whether the interface is there now
    orders   those of this caller
    """

    sources: Mapping[str, bool]
    copies: Mapping[str, bool]
    orders: int


class InterceptionPoint(Protocol):
    """A connection to an observation point. When it ends, its orders end, unless `resume` was asked for: then they stay
    for half a minute, with what is delivered for them, and the next connection goes on with them."""

    @property
    def name(self) -> str:
        """Equals the name of its entry point."""

    @property
    def identities(self) -> frozenset[IdentityKind]: ...

    @property
    def copies(self) -> frozenset[str]:
        """Names of points at which content can be copied, such as "n3" and "n6"."""

    async def resume(self, word: str) -> tuple[Order, ...]:
        """Before anything else: the word by which this caller comes back, which nobody else knows.

        The orders that stand of an earlier connection that said the same: they are this one's now, and what was
        observed for them meanwhile is among its deliveries. What was on the way when that one ended is lost. Raises
        UnavailableError.
        """

    async def copies_to(self, address: str) -> None:
        """At which address of this machine copies come in that cross a network on their way, by an interface that is
        the caller's own. Said once for each connection, whether there are orders or not, and true until another is
        said; without it, what is carried on another machine is not copied, and told as lost. A point that copies on its
        own machine alone takes no notice. Raises InputError, UnavailableError.
        """

    async def settle(self) -> None:
        """All orders that the caller has are given: what an earlier process of the point has left of any other ends.

        Until this is said, a point that was started anew waits, for half a minute at most, before it gives up what
        happened while nobody observed. Raises UnavailableError.
        """

    async def activate(self, order: Order) -> None:
        """From now on. What is already there is told at once (REGISTRATION_STANDING, SESSION_STANDING).

        An order of the same reference is replaced. Raises InputError for an identity or a point that is not offered
        here, never does less than it was asked; UnavailableError when the process is gone.
        """

    async def deactivate(self, reference: str) -> None:
        """Nothing of it is delivered after this returns but what is already on the way. Idempotent."""

    def deliveries(self) -> AsyncIterator[Delivery]:
        """To be taken all the time, also while another call waits. Ends when the connection does."""

    async def status(self) -> PointStatus: ...

    async def close(self, *, back: bool = False) -> None:
        """Ends all orders of this connection. `back`: its caller comes back by its word, and they stay until then."""


PointFactory = Callable[[Path], Awaitable[InterceptionPoint]]
"""What an entry point of the group names: it connects to the process of the appliance whose RUN_DIR it is given.

It raises UnavailableError when there is none, DeniedError when this process is not the one that may.
"""
