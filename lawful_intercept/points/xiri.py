"""Events of the 5G core, and calls that were up already, as XIRIPayload (3GPP TS 33.128). Pure.

5G events are release 16's, encoded by pycrate. What a call was when interception began in its middle is release 17's
startOfInterceptionForActiveIMSSession, of which release 16 has no form; a later release than a reader knows is no error
(both modules are extensible).

What the observed functions do not tell, and the module requires: a PDU session identity that nobody knows yet is 0,
which TS 24.007 reads as "none assigned"; a tunnel that nobody knows has TEID 0 and no address; a 5G-GUTI likewise; who
ended a registration is told as the UE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from nf.contracts.interception import Event, EventKind, Identity, IdentityKind
from nf.contracts.json import Json, JsonObject

XIRI_OID: Final = (4, 19, 16, 5, 1)
_XIRI_OID_17: Final = bytes((4, 19, 17, 15, 1))
_ACTIVE_IMS_SESSION: Final = b"\xbf\x6a"  # [106]
_GUTI: Final = re.compile(r"(\d{3})(\d{2,3})-([0-9A-Fa-f]{6})-C?([0-9A-Fa-f]{8})")

Value = tuple[str, dict[str, Any]]


def xiri(event: Event) -> bytes | None:
    """Of an event of the 5G core; None for what it has none for. What is no value of its field is left out."""
    known = _EVENTS.get(event.kind)
    if known is None:
        return None
    from pycrate_asn1dir import LIX3GPP

    payload = LIX3GPP.TS33128Payloads.XIRIPayload
    payload.set_val({"xIRIPayloadOID": XIRI_OID, "event": known(event)})
    encoded: bytes = payload.to_ber()
    return encoded


def _registration(event: Event) -> Value:
    return "registration", {
        "registrationType": "initial",
        "registrationResult": "threeGPPAccess",
        **_subject(event),
        "gUTI": _guti(event.details) or _no_guti(event.identities),
        **_location(event.details),
    }


def _registered(event: Event) -> Value:
    name, value = _registration(event)
    del name, value["registrationType"]
    since = event.details.get("since")
    return "startOfInterceptionWithRegisteredUE", {**value, **_time("timeOfRegistration", since)}


def _deregistration(event: Event) -> Value:
    guti = _guti(event.details)
    return "deregistration", {
        "deregistrationDirection": "uEInitiated",
        "accessType": "threeGPPAccess",
        **_subject(event),
        **({"gUTI": guti} if guti else {}),
        **_location(event.details),
    }


def _location_update(event: Event) -> Value:
    guti = _guti(event.details)
    place = _location(event.details) or {"location": {}}
    return "locationUpdate", {**_subject(event), **({"gUTI": guti} if guti else {}), **place}


def _session(event: Event) -> dict[str, Any]:
    details = event.details
    dnn = details.get("dnn")
    return {
        **_subject(event),
        "pDUSessionID": _session_id(details),
        "gTPTunnelID": _tunnel(details),
        "pDUSessionType": _session_type(details),
        **_slice(details),
        "uEEndpoint": [_endpoint(one) for one in _addresses(details)],
        "dNN": _clean(dnn) if isinstance(dnn, str) else "",
        "requestType": "initialRequest",
        "accessType": "threeGPPAccess",
        "rATType": "nR",
    }


def _established(event: Event) -> Value:
    return "pDUSessionEstablishment", _session(event)


def _standing(event: Event) -> Value:
    begun = _time("timeOfSessionEstablishment", event.details.get("since"))
    return "startOfInterceptionWithEstablishedPDUSession", {**_session(event), **begun}


def _modified(event: Event) -> Value:
    return "pDUSessionModification", {
        **_subject(event),
        **_slice(event.details),
        "requestType": "modificationRequest",
        "accessType": "threeGPPAccess",
        "rATType": "nR",
        "pDUSessionID": _session_id(event.details),
    }


def _released(event: Event) -> Value:
    return "pDUSessionRelease", {**_subject(event), "pDUSessionID": _session_id(event.details)}


_EVENTS: Final = {
    EventKind.REGISTRATION: _registration,
    EventKind.REGISTRATION_STANDING: _registered,
    EventKind.DEREGISTRATION: _deregistration,
    EventKind.LOCATION: _location_update,
    EventKind.SESSION_BEGIN: _established,
    EventKind.SESSION_STANDING: _standing,
    EventKind.SESSION_CHANGE: _modified,
    EventKind.SESSION_END: _released,
}


def _subject(event: Event) -> dict[str, Any]:
    """SUPI, PEI and GPSI, the first of each."""
    found: dict[str, Any] = {}
    for identity in event.identities:
        field = _IDENTITIES.get(identity.kind)
        value = _identity(identity)
        if field is not None and value is not None:
            found.setdefault(field, value)
    if "sUPI" not in found:
        supi = _identity(Identity(IdentityKind.SUPI, str(event.details.get("supi", ""))))
        found["sUPI"] = supi if supi is not None else ("nAI", "")
    return found


_IDENTITIES: Final = {IdentityKind.SUPI: "sUPI", IdentityKind.GPSI: "gPSI", IdentityKind.PEI: "pEI"}
_CHOICES: Final = (
    (IdentityKind.SUPI, r"imsi-([0-9]{6,15})", "iMSI"),
    (IdentityKind.SUPI, r"nai-(.+)", "nAI"),
    (IdentityKind.GPSI, r"msisdn-([0-9]{1,15})", "mSISDN"),
    (IdentityKind.GPSI, r"extid-(.+)", "nAI"),
    (IdentityKind.PEI, r"imei-([0-9]{14})[0-9]?", "iMEI"),
    (IdentityKind.PEI, r"imeisv-([0-9]{16})", "iMEISV"),
)


def _identity(identity: Identity) -> tuple[str, str] | None:
    for kind, pattern, choice in _CHOICES:
        match = re.fullmatch(pattern, identity.value, re.ASCII) if kind is identity.kind else None
        if match is not None:
            return choice, _clean(match[1])
    return None


def _clean(text: str) -> str:
    """What UTF-8 can write."""
    return text.encode(errors="replace").decode()


def _session_id(details: JsonObject) -> int:
    value = details.get("pdu_session_id")
    return value if isinstance(value, int) and 0 <= value <= 255 else 0


def _tunnel(details: JsonObject) -> dict[str, Any]:
    """The end at the UPF, which is first."""
    for entry in _objects(details.get("fteids")):
        teid, address = entry.get("teid"), _address(entry.get("address"))
        if entry.get("end") == "upf" and isinstance(teid, int) and 0 <= teid < 1 << 32 and address is not None:
            return {"tEID": teid, f"iPv{address.version}Address": address.packed}
    return {"tEID": 0}


def _addresses(details: JsonObject) -> list[IPv4Address | IPv6Address]:
    """The UE's; of IPv6 its prefix, as the first address in it."""
    listed = details.get("ue_ip")
    found = [_address(str(one).partition("/")[0]) for one in listed] if isinstance(listed, list) else []
    return [one for one in found if one is not None]


def _session_type(details: JsonObject) -> str:
    versions = {address.version for address in _addresses(details)}
    return {(4,): "iPv4", (6,): "iPv6", (4, 6): "iPv4v6"}.get(tuple(sorted(versions)), "unstructured")


def _endpoint(address: IPv4Address | IPv6Address) -> tuple[str, bytes]:
    return f"iPv{address.version}Address", address.packed


def _slice(details: JsonObject) -> dict[str, Any]:
    value = details.get("s_nssai")
    sst, sd = (value.get("sst"), value.get("sd")) if isinstance(value, dict) else (None, None)
    if not isinstance(sst, int) or not 0 <= sst <= 255:
        return {}
    differentiator = (
        {"sliceDifferentiator": bytes.fromhex(sd)} if isinstance(sd, str) and re.fullmatch("[0-9a-fA-F]{6}", sd) else {}
    )
    return {"sNSSAI": {"sliceServiceType": sst, **differentiator}}


def _guti(details: JsonObject) -> dict[str, Any] | None:
    match = _GUTI.fullmatch(str(details.get("guti", "")))
    if match is None:
        return None
    amf = int(match[3], 16)
    return {
        "mCC": match[1],
        "mNC": match[2],
        "aMFRegionID": amf >> 16,
        "aMFSetID": amf >> 6 & 0x3FF,
        "aMFPointer": amf & 0x3F,
        "fiveGTMSI": int(match[4], 16),
    }


def _no_guti(identities: Iterable[Identity]) -> dict[str, Any]:
    """All numbers 0, in the UE's own network."""
    home = next((one.value for one in identities if one.value.startswith("imsi-")), "imsi-00000")
    digits = re.sub(r"[^0-9]", "", home)[:5].ljust(5, "0")
    none = dict.fromkeys(("aMFRegionID", "aMFSetID", "aMFPointer", "fiveGTMSI"), 0)
    return {"mCC": digits[:3], "mNC": digits[3:], **none}


def _location(details: JsonObject) -> dict[str, Any]:
    """TAI and NR CGI (TS 38.413), and when the UE was there."""
    place = details.get("location")
    tai, cgi = (_object(place.get("nr_tai")), _object(place.get("nr_cgi"))) if isinstance(place, dict) else ({}, {})
    area, cell = tai.get("tac"), cgi.get("nci")
    network, cell_network = _plmn(tai.get("plmn")), _plmn(cgi.get("plmn"))
    if not isinstance(area, int) or not isinstance(cell, int) or network is None or cell_network is None:
        return {}
    if not 0 <= area < 1 << 24 or not 0 <= cell < 1 << 36:
        return {}
    where = {
        "tAI": {"pLMNID": network, "tAC": area.to_bytes(3, "big")},
        "nCGI": {"pLMNID": cell_network, "nRCellID": (cell, 36)},
        **_time("uELocationTimestamp", details.get("located_at")),
    }
    current = details.get("connected") is True
    return {
        "location": {"locationInfo": {"userLocation": {"nRLocation": where}, "currentLoc": current, "rATType": "nR"}}
    }


def _plmn(value: Json) -> dict[str, str] | None:
    match = re.fullmatch(r"([0-9]{3})([0-9]{2,3})", value) if isinstance(value, str) else None
    return {"mCC": match[1], "mNC": match[2]} if match is not None else None


def _time(field: str, at: Json) -> dict[str, Any]:
    """pycrate's GeneralizedTime: its parts as text, UTC."""
    if not isinstance(at, int | float) or isinstance(at, bool) or not 0 < at < 1 << 32:
        return {}
    instant = datetime.fromtimestamp(at, UTC)
    parts = (f"{instant:%Y}", f"{instant:%m}", f"{instant:%d}", f"{instant:%H}", f"{instant:%M}", f"{instant:%S}")
    return {field: (*parts, None, "Z")}


def _address(value: Json) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


# A call that was up when interception began


def active_session(details: Mapping[str, Json]) -> bytes:
    """XIRIPayload of startOfInterceptionForActiveIMSSession: who calls whom (originatingId [1], terminatingId [2])."""
    caller, called = (_impu(str(details.get(name, ""))) for name in ("caller", "called"))
    event = _tlv(_ACTIVE_IMS_SESSION, _tlv(b"\xa1", caller) + _tlv(b"\xa2", called))
    return _tlv(b"\x30", _tlv(b"\x81", _XIRI_OID_17) + _tlv(b"\xa2", event))


def _impu(uri: str) -> bytes:
    """CHOICE of sIPURI [1] and tELURI [2]."""
    return _tlv(b"\x82" if uri[:4].lower() == "tel:" else b"\x81", uri.encode(errors="replace")[:1024])


def _tlv(tag: bytes, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return tag + bytes((size,)) + contents
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return tag + bytes((0x80 | len(octets),)) + octets + contents
