"""The documents of Open5GS's collection `subscribers`, both ways; pure.

Its functions read a number only where BSON has a 32-bit one (the sequence number: 64 bits) and skip what they do not
know. Bit rates are a value and a power of 1,000; session types 1 IPv4, 2 IPv6, 3 both; pre-emption 1 no, 2 yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from bson.int64 import Int64

from core5g.subscribers.columns import rate_text
from core5g.subscribers.documents import PccRule, Priority, SubscribedSession, Subscriber, rate_parts
from core5g.subscribers.keys import Keys
from core5g.ue import prefix_of

SCHEMA_VERSION: Final = 1
TYPES: Final = {"ipv4": 1, "ipv6": 2, "ipv4v6": 3}
_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_DIRECTIONS = {"downlink": 1, "uplink": 2}
_DIRECTION_NAMES = {number: name for name, number in _DIRECTIONS.items()}
_STATUS = {"granted": 0, "barred": 1}
_ACCESS_MODES = {"packet-and-circuit": 0, "packet": 2}

Document = Mapping[str, Any]


def new_document(subscriber: Subscriber, keys: Keys) -> dict[str, Any]:
    """Of a subscriber that was not there before."""
    return {
        "schema_version": SCHEMA_VERSION,
        "imsi": subscriber.imsi,
        **fields(subscriber),
        "security": {**security(keys), "sqn": Int64(subscriber.sqn or 0)},
        "mme_host": [],
        "mme_realm": [],
        "purge_flag": [],
        "__v": 0,
    }


def security(keys: Keys) -> dict[str, Any]:
    return {"k": keys.k, "op": None, "opc": keys.opc, "amf": keys.amf}


def fields(subscriber: Subscriber, before: Document | None = None) -> dict[str, Any]:
    """Everything but identity and `security`. What `before` has and we do not know stays in its sessions."""
    return {
        "msisdn": list(subscriber.msisdn),
        "imeisv": list(subscriber.imeisv),
        "ambr": _ambr(subscriber.downlink_bps, subscriber.uplink_bps),
        "slice": _slices(subscriber, before or {}),
        "access_restriction_data": subscriber.access_restriction,
        "subscriber_status": _STATUS[subscriber.status],
        "operator_determined_barring": subscriber.barring,
        "network_access_mode": _ACCESS_MODES[subscriber.access_mode],
        "subscribed_rau_tau_timer": subscriber.timer_min,
    }


def _slices(subscriber: Subscriber, before: Document) -> list[dict[str, Any]]:
    known = {_slice_text(one): one for one in _list(before, "slice")}
    defaults = subscriber.default_slices or subscriber.slices()[:1]
    found: list[dict[str, Any]] = []
    for name in subscriber.slices():
        sst, _, sd = name.partition("-")
        there = known.get(name, {})
        sessions = {str(one.get("name")): one for one in _list(there, "session")}
        found.append(
            {
                **there,
                "sst": int(sst),
                **({"sd": sd} if sd else {}),
                "default_indicator": name in defaults,
                "session": [
                    _session(one, sessions.get(one.dnn, {})) for one in subscriber.sessions if one.slice == name
                ],
            }
        )
    return found


def _session(session: SubscribedSession, before: Document) -> dict[str, Any]:
    addresses = {"ipv4": session.ipv4, "ipv6": session.ipv6}
    given = {name: str(address) for name, address in addresses.items() if address is not None}
    made = {
        **before,
        "name": session.dnn,
        "type": TYPES[session.type],
        "qos": _qos(session.qos_index, session),
        "ambr": _ambr(session.downlink_bps, session.uplink_bps),
        "ue": given,
        "pcc_rule": [_pcc_rule(rule) for rule in session.pcc_rules],
    }
    return made if given else {name: value for name, value in made.items() if name != "ue"}


def _pcc_rule(rule: PccRule) -> dict[str, Any]:
    rates = {"mbr": rule.maximum, "gbr": rule.guaranteed}
    given = {name: _ambr(one.downlink_bps, one.uplink_bps) for name, one in rates.items() if one is not None}
    flows = [{"direction": _DIRECTIONS[one.direction], "description": one.description} for one in rule.flows]
    return {"flow": flows, "qos": {**_qos(rule.qos_index, rule), **given}}


def _qos(index: int, priority: Priority) -> dict[str, Any]:
    return {
        "index": index,
        "arp": {
            "priority_level": priority.arp,
            "pre_emption_capability": 1 + priority.preempt,
            "pre_emption_vulnerability": 1 + priority.preemptable,
        },
    }


def _ambr(downlink_bps: int, uplink_bps: int) -> dict[str, Any]:
    return {"downlink": _rate(downlink_bps), "uplink": _rate(uplink_bps)}


def _rate(bps: int) -> dict[str, int]:
    value, unit = rate_parts(bps) or (0, 0)
    return {"value": value, "unit": unit}


# ---- reading ----


def data_of(document: Document) -> dict[str, Any]:
    """A subscriber as people write it, without keys; what the document does not say is not there.

    Takes documents that others wrote as well, whatever is in them.
    """
    sessions = [
        _session_data(one, _slice_text(part)) for part in _list(document, "slice") for one in _list(part, "session")
    ]
    defaults = [_slice_text(part) for part in _list(document, "slice") if part.get("default_indicator") is True]
    slices = list(dict.fromkeys(str(one["slice"]) for one in sessions))
    return {
        "imsi": str(document.get("imsi", "")),
        **_texts(document, "msisdn"),
        **_texts(document, "imeisv"),
        **_named(document, "subscriber_status", "status", {0: "granted", 1: "barred"}),
        **_number(document, "operator_determined_barring", "barring"),
        **_number(document, "access_restriction_data", "access_restriction"),
        **_named(document, "network_access_mode", "access_mode", {0: "packet-and-circuit", 2: "packet"}),
        **_number(document, "subscribed_rau_tau_timer", "timer_min"),
        **_rates(document.get("ambr"), "ue_"),
        **({"default_slices": defaults} if defaults and defaults != slices[:1] else {}),
        "sessions": sessions,
    }


def addresses_of(document: Document) -> Iterator[str]:
    """The static addresses of a document, whoever wrote it; of an IPv6 one its /64."""
    for part in _list(document, "slice"):
        for session in _list(part, "session"):
            ue = _mapping(session, "ue")
            for name, read in (("ipv4", _ipv4), ("ipv6", _ipv6)):
                with suppress(ValueError):
                    if ue.get(name):
                        yield read(str(ue[name]).partition("/")[0])


def _ipv4(text: str) -> str:
    return str(IPv4Address(text))


def _ipv6(text: str) -> str:
    return str(prefix_of(IPv6Address(text)))


def _session_data(session: Document, slice_text: str) -> dict[str, Any]:
    ue = _mapping(session, "ue")
    rules = [_rule_data(rule) for rule in _list(session, "pcc_rule")]
    return {
        "dnn": str(session.get("name", "")),
        "slice": slice_text,
        **_named(session, "type", "type", _TYPE_NAMES),
        **_qos_data(_mapping(session, "qos")),
        **_rates(session.get("ambr"), ""),
        **{name: str(ue[name]) for name in ("ipv4", "ipv6") if ue.get(name)},
        **({"pcc_rules": rules} if rules else {}),
    }


def _rule_data(rule: Document) -> dict[str, Any]:
    qos = _mapping(rule, "qos")
    flows = [
        {**_named(flow, "direction", "direction", _DIRECTION_NAMES), "description": str(flow.get("description", ""))}
        for flow in _list(rule, "flow")
    ]
    rates = {name: _rates(qos.get(theirs), "") for name, theirs in (("maximum", "mbr"), ("guaranteed", "gbr"))}
    return {**_qos_data(qos), "flows": flows, **{name: rate for name, rate in rates.items() if rate}}


def _qos_data(qos: Document) -> dict[str, Any]:
    arp = _mapping(qos, "arp")
    return {
        **_number(qos, "index", "5qi"),
        **_number(arp, "priority_level", "arp"),
        **_named(arp, "pre_emption_capability", "preempt", {1: False, 2: True}),
        **_named(arp, "pre_emption_vulnerability", "preemptable", {1: False, 2: True}),
    }


def _slice_text(part: Document) -> str:
    sst, sd = part.get("sst"), part.get("sd")
    number = int(sst) if isinstance(sst, int | float) else sst
    return f"{number}-{str(sd).lower()}" if sd else str(number)


def _rates(ambr: object, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("downlink", "uplink"):
        rate = ambr.get(name) if isinstance(ambr, Mapping) else None
        value, unit = (rate.get("value"), rate.get("unit", 0)) if isinstance(rate, Mapping) else (None, 0)
        if isinstance(value, int | float) and isinstance(unit, int | float) and 0 <= unit <= 4:
            found[f"{prefix}{name}"] = rate_text(int(value) * 1000 ** int(unit))
    return found


def _number(document: Document, theirs: str, ours: str) -> dict[str, Any]:
    value = document.get(theirs)
    return {ours: int(value)} if isinstance(value, int | float) else {}


def _named(document: Document, theirs: str, ours: str, names: Mapping[int, object]) -> dict[str, Any]:
    value = document.get(theirs)
    return {ours: names.get(int(value), int(value))} if isinstance(value, int | float) else {}


def _texts(document: Document, name: str) -> dict[str, Any]:
    value = document.get(name)
    found = [str(one) for one in value] if isinstance(value, list) else [value] if isinstance(value, str) else []
    return {name: found} if found else {}


def _mapping(document: Document, name: str) -> Document:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(document: Document, name: str) -> Iterable[Document]:
    value = document.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
