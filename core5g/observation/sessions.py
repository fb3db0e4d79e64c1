"""PDU sessions and registrations as the observed functions tell of them. Pure: JSON in, frozen values out.

Sources: the PFCP proxy's events, Open5GS' `/pdu-info` (SMF), `/ue-info` and `/gnb-info` (AMF). What cannot be read is
left out: these come from other programs, and one bad entry must not hide the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from core5g.ue import PREFIX_BITS, UeAddress, ue_of
from nf.contracts.interception import Identity, IdentityKind
from nf.contracts.json import Json, JsonObject

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Fteid:
    """F-TEID (TS 29.244 clause 8.2.3): a tunnel's end, at the node of that address."""

    address: IPv4Address | IPv6Address
    teid: int

    def to_json(self) -> JsonObject:
        return {"address": str(self.address), "teid": self.teid}


@dataclass(frozen=True, slots=True, repr=False)
class PduSession:
    """upf: the ends of its tunnels at UPFs, the N3 one first; gnb: the end at the gNB, where downlink goes; None while
    the UE is idle and nobody knows. `psi`: PDU session id, where the source knows it (N4 does not carry it).
    """

    supi: str
    dnn: str = ""
    s_nssai: JsonObject = field(default_factory=dict)
    ue: tuple[UeAddress, ...] = ()
    upf: tuple[Fteid, ...] = ()
    gnb: Fteid | None = None
    psi: int | None = None
    gpsi: tuple[str, ...] = ()
    pei: str = ""
    active: bool | None = None

    def details(self) -> JsonObject:
        """As an event tells it."""
        told: JsonObject = {
            "supi": self.supi,
            "dnn": self.dnn,
            "s_nssai": self.s_nssai,
            "ue_ip": [str(address) for address in self.ue],
            "fteids": [{**end.to_json(), "end": "upf"} for end in self.upf],
        }
        if self.gnb is not None:
            told["fteids"] = [*_listed(told["fteids"]), {**self.gnb.to_json(), "end": "gnb"}]
        if self.psi is not None:
            told["pdu_session_id"] = self.psi
        if self.active is not None:
            told["active"] = self.active
        return told


@dataclass(frozen=True, slots=True, repr=False)
class Registration:
    """A UE that the AMF has. `location`: TAI, NR CGI and the gNB it is at (TS 38.413)."""

    supi: str
    gpsi: tuple[str, ...] = ()
    pei: str = ""
    guti: str = ""
    connected: bool = False
    location: JsonObject = field(default_factory=dict)
    located_at: float | None = None

    def details(self) -> JsonObject:
        told: JsonObject = {"supi": self.supi, "connected": self.connected, "location": self.location}
        if self.guti:
            told["guti"] = self.guti
        if self.located_at is not None:
            told["located_at"] = self.located_at
        return told


def comparable(identity: Identity) -> tuple[IdentityKind, str]:
    """What is compared: an IMEI and an IMEISV of one device differ after 14 digits (TS 23.003 clause 6.2), the realm of
    an NAI is a domain name, which has no case (RFC 4343), and of an address it is what a UE has (`at_address`)."""
    if identity.kind is IdentityKind.PEI:
        return identity.kind, re.sub(r"^imei(sv)?-", "", identity.value)[:14]
    if identity.kind is IdentityKind.UE_ADDRESS and (address := target_address(identity.value)) is not None:
        return at_address(address)
    user, at, realm = identity.value.rpartition("@")
    return identity.kind, f"{user}{at}{realm.lower()}" if at else identity.value


def at_address(address: UeAddress) -> tuple[IdentityKind, str]:
    """What an order for this address is compared by."""
    return IdentityKind.UE_ADDRESS, str(address)


def target_address(value: str) -> UeAddress | None:
    """What one UE has, written as an address or a prefix; None for what several have, or nobody by itself."""
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return None
    if "%" in value:  # of a link, and a UE's is not
        return None
    first = network.network_address
    if first.is_unspecified or first.is_multicast or first.is_loopback or first.is_link_local:
        return None
    least = PREFIX_BITS if network.version == 6 else network.max_prefixlen
    return ue_of(first) if network.prefixlen >= least else None


def matchable(identity: Identity) -> bool:
    """Whether it has the form in which the 5G core knows its subscribers (TS 29.571 clause 5.3.2)."""
    if identity.kind is IdentityKind.UE_ADDRESS:
        return target_address(identity.value) is not None
    forms = {
        IdentityKind.SUPI: r"imsi-\d{5,15}|nai-.+",
        IdentityKind.GPSI: r"msisdn-\d{5,15}|extid-[^@]+@[^@]+",
        IdentityKind.PEI: r"imei-\d{15}|imeisv-\d{16}",
    }
    form = forms.get(identity.kind)
    return form is not None and re.fullmatch(form, identity.value) is not None


def ue_addresses(values: Iterable[Json]) -> tuple[UeAddress, ...]:
    """Of IPv6 the /64, whether an address or a prefix is written."""
    found: list[UeAddress] = []
    for value in values:
        try:
            address = ip_address(str(value).partition("/")[0])
        except ValueError:
            continue
        if (one := ue_of(address)) not in found:
            found.append(one)
    return tuple(found)


def pdu_sessions(items: Iterable[Json]) -> Iterator[tuple[str, PduSession]]:
    """From `items` of `/pdu-info`: (its key at that SMF, session)."""
    for item in items:
        ue = _object(item)
        supi = _supi(ue.get("supi"))
        for entry in _listed(ue.get("pdu")) if supi else ():
            pdu = _object(entry)
            n3 = _object(pdu.get("n3"))
            upf = _tunnel_end(n3.get("upf"))
            psi = pdu.get("psi")
            state = pdu.get("pdu_state")
            session = PduSession(
                supi=supi,
                dnn=_text(pdu.get("dnn")) or _text(pdu.get("apn")),
                s_nssai=_slice(pdu.get("snssai")),
                ue=ue_addresses(value for value in (pdu.get("ipv4"), pdu.get("ipv6")) if value),
                upf=(upf,) if upf is not None else (),
                gnb=_tunnel_end(n3.get("gnb")),
                psi=psi if isinstance(psi, int) else None,
                active={"active": True, "inactive": False}.get(_text(state)),
            )
            yield f"{supi}/{session.psi if session.psi is not None else pdu.get('ebi')}", session


def gnb_addresses(items: Iterable[Json]) -> dict[int, str]:
    """From `items` of `/gnb-info`: the address of N2 of each gNB, by its id."""
    found: dict[int, str] = {}
    for item in items:
        gnb = _object(item)
        number, peer = gnb.get("gnb_id"), _object(_object(gnb.get("ng")).get("sctp")).get("peer")
        if isinstance(number, int) and isinstance(peer, str):
            address = _address(peer)
            if address is not None:
                found[number] = str(address)
    return found


def registrations(items: Iterable[Json], gnbs: dict[int, str]) -> Iterator[tuple[str, Registration]]:
    """From `items` of `/ue-info`: (SUPI, registration)."""
    for item in items:
        ue = _object(item)
        supi = _supi(ue.get("supi"))
        if not supi:
            continue
        place = _object(ue.get("location"))
        location: JsonObject = {key: place[key] for key in ("nr_tai", "nr_cgi") if isinstance(place.get(key), dict)}
        gnb = _object(ue.get("gnb")).get("gnb_id", _object(place.get("nr_cgi")).get("gnb_id"))
        if isinstance(gnb, int):
            location["gnb_id"] = gnb
            if gnb in gnbs:
                location["gnb_address"] = gnbs[gnb]
        stamp = place.get("timestamp")
        yield (
            supi,
            Registration(
                supi=supi,
                gpsi=tuple(_gpsi(number) for number in _listed(ue.get("msisdn")) if number),
                pei=_text(ue.get("pei")),
                guti=_text(ue.get("guti")),
                connected=ue.get("cm_state") == "connected",
                location=location,
                located_at=stamp / _MICROSECONDS if isinstance(stamp, int | float) and stamp > 0 else None,
            ),
        )


def n4_session(event: JsonObject) -> tuple[str, PduSession]:
    """From an event of the PFCP proxy: (its key there, session). Raises ValueError when it is none."""
    supi, seid = _supi(event.get("supi")), event.get("seid")
    if not isinstance(seid, int | str):
        raise ValueError("no SEID")  # noqa: TRY004 - bad data
    ends = [end for entry in _listed(event.get("fteids")) if (end := _placed_end(entry)) is not None]
    address = event.get("ue_ip")
    addresses = [*(address if isinstance(address, list) else [address]), event.get("ue_ipv6")]
    session = PduSession(
        supi=supi,
        dnn=_text(event.get("dnn")),
        s_nssai=_slice(event.get("s_nssai")),
        ue=ue_addresses(one for one in addresses if one),
        upf=tuple(end for place, end in ends if place != "gnb"),
        gnb=next((end for place, end in ends if place == "gnb"), None),
        gpsi=tuple(_gpsi(number) for number in (event.get("gpsi"), event.get("msisdn")) if number),
        pei=_text(event.get("pei")),
    )
    return str(seid), session


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _supi(value: Json) -> str:
    """Open5GS writes a bare IMSI where a session came over S5."""
    text = _text(value)
    return f"imsi-{text}" if text.isdecimal() else text


def _gpsi(value: Json) -> str:
    text = str(value)
    return f"msisdn-{text}" if text.isdecimal() else text


def _slice(value: Json) -> JsonObject:
    """`{"sst": 1, "sd": "00002a"}`, or `1-00002a` as people write it; ffffff is none (TS 23.003 clause 28.4.2)."""
    match = re.fullmatch(r"(\d{1,3})(?:-([0-9A-Fa-f]{6}))?", value) if isinstance(value, str) else None
    if match is not None:
        return {"sst": int(match[1]), **({"sd": match[2].lower()} if match[2] else {})}
    found = _object(value)
    return {key: found[key] for key in ("sst", "sd") if key in found and found[key] != "ffffff"}


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """`[192.0.2.1]:2152`, as Open5GS writes it, or bare."""
    match = re.fullmatch(r"\[([^]]+)\](:\d+)?", text)
    try:
        return ip_address(match[1] if match else text)
    except ValueError:
        return None


def _tunnel_end(value: Json) -> Fteid | None:
    entry = _object(value)
    teid, text = entry.get("teid"), entry.get("addr", entry.get("address"))
    address = _address(text) if isinstance(text, str) else None
    if address is None or not isinstance(teid, int) or not 0 < teid < 1 << 32:
        return None
    return Fteid(address, teid)


def _placed_end(value: Json) -> tuple[str, Fteid] | None:
    end = _tunnel_end(value)
    return (_text(_object(value).get("end")), end) if end is not None else None
