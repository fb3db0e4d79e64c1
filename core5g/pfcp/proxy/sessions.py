"""PFCP sessions as the proxy knows them, and how they are kept on disk."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from sys import intern

from core5g.pfcp.ies import ApnDnn, FTeid, OuterHeaderCreation, SNssai, UeIpAddress, UserId, V, read
from core5g.pfcp.proxy.rulebook import RuleBook
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import Ie, IeType, PfcpError, find, grouped
from core5g.steering.classifier.rules import OwnIds
from core5g.ue import prefix_of
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError

Tunnel = tuple[int, bytes]
"""TEID and IPv4 address in four octets."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Whose session it is, as far as the SMF says: `gpsi` as `msisdn-...`, `pei` as `imei-...` or `imeisv-...`."""

    supi: str = ""
    ipv4: str = ""
    ipv6: str = ""
    dnn: str = ""
    s_nssai: str = ""
    gpsi: str = ""
    pei: str = ""

    def names(self) -> frozenset[str]:
        """By which a person or an operation may mean this UE."""
        return frozenset(name for name in (self.supi, self.ipv4, self.ipv6) if name)

    def known_by(self) -> frozenset[str]:
        """By which it is looked up: of IPv6 a UE has all of a /64 (TS 23.501 clause 5.8.2.2)."""
        return self.names() | ({_prefix(self.ipv6)} if self.ipv6 else frozenset())

    def versions(self) -> frozenset[int]:
        return frozenset(version for version, address in ((4, self.ipv4), (6, self.ipv6)) if address)


@dataclass(slots=True)
class Own:
    """What the classifier has in a session.

    back     where the UPF of the SMF takes in the way back; None: that is not there
    mirror   the SMF's way back as it was when ours was last made like it
    edge     SEID at the edge, 0: none; out: where the edge takes in what goes there
    filters  in the UPF, or perhaps there: what was sent and not yet answered counts
    fars     FARs of ours that are known to stand
    broken   the UPF may have lost all rules of the session
    refused  why it is not steered any more, "" while it may be
    """

    ids: OwnIds | None = None
    back: Tunnel | None = None
    mirror: bytes = b""
    edge: int = 0
    out: Tunnel | None = None
    filters: tuple[str, ...] = ()
    pdrs: tuple[int, ...] = ()
    fars: tuple[int, ...] = ()
    broken: bool = False
    refused: str = ""


@dataclass(slots=True, eq=False)
class Session:
    """seid: the SMF's; key: the one that UPFs are given for it; up_seid: the UPF's, which the SMF is given."""

    smf: str
    seid: int
    key: int
    up_seid: int
    book: bytes
    whose: Subscriber
    pdn_type: bytes = b"\x01"
    dnn: bytes | None = None
    own: Own = field(default_factory=Own)
    ended: bool = False  # the SMF is through with it, the edge not yet
    expelled: bool = False  # it has to go at the UPF too
    pending: deque[Modification] | None = None
    held: list[tuple[bytes, Peer]] | None = None
    busy: bool = False
    retry_at: float = 0.0
    flags: bytes | None = None

    @property
    def steered(self) -> bool:
        own = self.own
        return bool(own.filters) and len(own.fars) == 2 and not self.ended and not own.broken

    def fteids(self) -> list[JsonObject]:
        """Both ends of its tunnels on N3: the UPF's, and the gNB's while the UE is connected."""
        found: dict[tuple[str, int, str], None] = {}
        for ie in self.opened().creates():
            members = grouped(ie.value)
            if ie.type == IeType.CREATE_PDR:
                fteid = read(FTeid, grouped(find(members, IeType.PDI) or b""))
                if fteid is not None and not fteid.choose:
                    found["upf", fteid.teid, str(fteid.ipv4 or fteid.ipv6)] = None
            elif ie.type == IeType.CREATE_FAR:
                given = grouped(find(members, IeType.FORWARDING_PARAMETERS) or b"")
                header = read(OuterHeaderCreation, given)
                if find(given, IeType.DESTINATION_INTERFACE) == b"\x00" and header is not None and header.is_gtpu:
                    found["gnb", header.teid or 0, str(header.ipv4 or header.ipv6)] = None
        return [{"end": end, "teid": teid, "address": address} for end, teid, address in found]

    def opened(self) -> RuleBook:
        return RuleBook(self.book)


@dataclass(slots=True, eq=False)
class Modification:
    """One that the UPF was sent: what it does to the rules counts once it is accepted, in the order of sending.

    unread: it is malformed; none of its IEs is known
    """

    ies: tuple[Ie, ...]
    answer: tuple[Ie, ...] | None = None
    accepted: bool | None = None
    unread: bool = False


def subscriber_of(ies: tuple[Ie, ...]) -> Subscriber:
    """From an establishment. What cannot be read is left out: it is for people and observers."""
    address = None
    for ie in ies:
        if ie.type == IeType.CREATE_PDR and address is None:
            address = _lenient(UeIpAddress, grouped(find(grouped(ie.value), IeType.PDI) or b""))
    user = _lenient(UserId, ies) or UserId()
    return Subscriber(
        supi=user.subscriber or "",
        ipv4=str(address.ipv4) if address and address.ipv4 else "",
        ipv6=str(address.ipv6) if address and address.ipv6 else "",
        dnn=_dnn(find(ies, IeType.APN_DNN) or b""),
        s_nssai=_s_nssai(find(ies, IeType.S_NSSAI) or b""),
        gpsi=user.number or "",
        pei=user.equipment or "",
    )


@lru_cache(maxsize=256)
def _dnn(value: bytes) -> str:
    found = _lenient(ApnDnn, (Ie(IeType.APN_DNN, value),))
    return found.name if found is not None else ""


@lru_cache(maxsize=256)
def _s_nssai(value: bytes) -> str:
    found = _lenient(SNssai, (Ie(IeType.S_NSSAI, value),))
    return str(found) if found is not None else ""


def _prefix(address: str) -> str:
    """The /64 of an IPv6 address; what is none is left as it is."""
    try:
        return str(prefix_of(IPv6Address(address)))
    except ValueError:
        return address


def tunnel_of(fteid: FTeid | None, otherwise: IPv4Address | None = None) -> Tunnel | None:
    address = fteid.ipv4 if fteid is not None and fteid.ipv4 is not None else otherwise
    return (fteid.teid, address.packed) if fteid is not None and not fteid.choose and address is not None else None


class SessionTable:
    """By the key that UPFs have, by the UPF's SEID, by UE."""

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        self._by_key: dict[int, Session] = {}
        self._by_up_seid: dict[int, Session] = {}
        self._by_name: dict[str, Session] = {}
        for session in sessions:
            self.add(session)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    def add(self, session: Session) -> None:
        self._by_key[session.key] = session
        if not session.ended:
            self._by_up_seid[session.up_seid] = session
            for name in session.whose.known_by():
                self._by_name[name] = session

    def end(self, session: Session) -> None:
        """The SMF is through with it: nothing finds it any more but its key."""
        session.ended = True
        if self._by_up_seid.get(session.up_seid) is session:
            del self._by_up_seid[session.up_seid]
        for name in session.whose.known_by():
            if self._by_name.get(name) is session:
                del self._by_name[name]

    def drop(self, session: Session) -> None:
        self.end(session)
        if self._by_key.get(session.key) is session:
            del self._by_key[session.key]

    def by_key(self, key: int) -> Session | None:
        return self._by_key.get(key)

    def by_up_seid(self, seid: int) -> Session | None:
        return self._by_up_seid.get(seid)

    def by_name(self, name: str) -> Session | None:
        return self._by_name.get(name) or (self._by_name.get(_prefix(name)) if ":" in name else None)

    def key_for(self, smf: str, seid: int) -> int:
        """The SMF's own SEID, unless a session of another SMF, or one that is not over at the edge, has it."""
        there = self._by_key.get(seid)
        if there is None or (there.smf == smf and there.seid == seid and not there.ended):
            return seid
        key = (1 << 62) | seid
        while key in self._by_key:
            key += 1 << 40
        return key


def packed(session: Session) -> tuple[str, bytes]:
    """For the store: what is JSON, and the rules."""
    own, whose = session.own, session.whose
    data = {
        "smf": session.smf,
        "seid": session.seid,
        "up_seid": session.up_seid,
        "whose": [whose.supi, whose.ipv4, whose.ipv6, whose.dnn, whose.s_nssai, whose.gpsi, whose.pei],
        "pdn_type": session.pdn_type.hex(),
        "dnn": session.dnn.hex() if session.dnn is not None else None,
        "ended": session.ended,
        "expelled": session.expelled,
        "ids": [[*own.ids.pdrs], [*own.ids.fars]] if own.ids is not None else None,
        "back": _told(own.back),
        "mirror": own.mirror.hex(),
        "edge": own.edge,
        "out": _told(own.out),
        "filters": [*own.filters],
        "pdrs": [*own.pdrs],
        "fars": [*own.fars],
        "broken": own.broken,
        "refused": own.refused,
    }
    return json.dumps(data, separators=(",", ":")), session.book


def unpacked(key: int, text: str, book: bytes) -> Session:
    """Raises IntegrityError."""
    try:
        data = json.loads(text)
        RuleBook(book)
        own = Own(
            ids=OwnIds(tuple(data["ids"][0]), (data["ids"][1][0], data["ids"][1][1])) if data["ids"] else None,
            back=_read(data["back"]),
            mirror=bytes.fromhex(data["mirror"]),
            edge=data["edge"],
            out=_read(data["out"]),
            filters=tuple(map(intern, data["filters"])),
            pdrs=tuple(data["pdrs"]),
            fars=tuple(data["fars"]),
            broken=data["broken"],
            refused=data["refused"],
        )
        return Session(
            smf=data["smf"],
            seid=data["seid"],
            key=key,
            up_seid=data["up_seid"],
            book=book,
            whose=Subscriber(*data["whose"]),
            pdn_type=bytes.fromhex(data["pdn_type"]),
            dnn=bytes.fromhex(data["dnn"]) if data["dnn"] is not None else None,
            own=own,
            ended=data["ended"],
            expelled=data["expelled"],
        )
    except (ValueError, KeyError, TypeError, IndexError, PfcpError) as error:
        raise IntegrityError(f"a kept session cannot be read: {error}", where=f"session {key:#x}") from error


def _told(tunnel: Tunnel | None) -> list[int | str] | None:
    return [tunnel[0], tunnel[1].hex()] if tunnel is not None else None


def _read(data: list[object] | None) -> Tunnel | None:
    return (int(str(data[0])), bytes.fromhex(str(data[1]))) if data is not None else None


def _lenient(kind: type[V], ies: tuple[Ie, ...]) -> V | None:
    try:
        return read(kind, ies)
    except PfcpError:
        return None
