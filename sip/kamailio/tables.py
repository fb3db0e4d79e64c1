"""What a proxy is told while it runs: accounts, limits, number plan, relays. Pure.

A change of these changes nothing in kamailio.cfg. After Kamailio starts it is drained (hash table `ctl`, key `drain`,
is 2) until all of this is there; to open it set `drain` to 0, last of all. Emergency calls do not wait for it.

To put them there:
1. rows  replace the rows of the tables in settings.db, in one transaction; then `mtree.reload plan` and
         `rtpengine.reload` (which answers no faster than every 10 s)
2. hashes  `htable.sets`, or `htable.seti` for a whole number; keys that are there and not here `htable.delete`
3. settings  `cfg.set_now_int GROUP NAME VALUE`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from nf.documents.model import RuleError
from sip.documents import Relay, Trunk
from sip.kamailio.documents import KamailioSection
from sip.kamailio.sets import REGION_SET, SPARE_SET, relay_set, route_rules

ACCOUNTS: Final = "sub"
"""`USER@DOMAIN` -> HA1."""
OWN: Final = "own"
"""`USER@DOMAIN` -> `CALLS|BARRED|NUMBER`, of subscribers with something of their own; parts may be empty."""
NUMBERS: Final = "num"
"""Number -> `u|USER@DOMAIN` or `s|KIND`."""
DOMAINS: Final = "dom"
"""Domain -> 1."""
SOURCES: Final = "src"
"""Address -> `t;TRUNK;CALLS;PERMITTED;CODECS`, PERMITTED an expression (in which `|` is "or") or empty, CODECS what a
relay is told of an offer to it, or empty; `m;MEDIA SERVER`; or `p`: a sibling."""
SIBLING: Final = "p"
RELAYS: Final = "rel"
"""Relay, as it stands in a set -> `SET|RELAY`, SET the number of the set that has it alone; and an address from which
relays may ask whether a dialog is here -> `asks`."""
ASKS: Final = "asks"
CONTROL: Final = "ctl"
"""What is asked at each call: drain calls own rate seconds ban failures mark."""

DRAIN: Final = "drain"
OPENED, DRAINED, STARTING = 0, 1, 2
"""Values of `ctl` `drain`: takes all; refuses new calls (503, Retry-After); has no tables yet and refuses all."""

_HA1 = re.compile(r"[0-9a-f]{32}")
_CHARACTERS: Final = "+*#0123456789"

Row = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """hashes    name of the hash table -> key -> value
    rows      table in settings.db -> rows: `plan` (tprefix, tvalue), `rtpengine` (setid, url, weight, disabled)
    settings  (group, name) of Kamailio's cfg framework -> value
    """

    hashes: Mapping[str, Mapping[str, str | int]]
    rows: Mapping[str, tuple[Row, ...]]
    settings: Mapping[tuple[str, str], int]


def tables(section: KamailioSection, accounts: str) -> Tables:
    """`accounts`: text of `user:domain:HA1` lines (htdigest). `ctl` `drain` is not in it: it is a matter of operation.

    Raises RuleError for a line of accounts that is none, and where two trunks share an address.
    """
    limits, least = section.limits, section.limits.registration[0]
    most = section.limits.registration[1]
    return Tables(
        hashes={
            ACCOUNTS: _accounts(section, accounts),
            OWN: {
                f"{one.user}@{one.domain}": f"{one.calls or ''}|{int(one.barred)}|{next(iter(one.numbers), '')}"
                for one in section.subscribers
                if one.calls or one.barred or one.numbers
            },
            NUMBERS: {number: f"u|{one.user}@{one.domain}" for one in section.subscribers for number in one.numbers}
            | {one.number: f"s|{one.kind}" for one in section.services},
            DOMAINS: dict.fromkeys((*section.domains, *map(str, section.virtual), str(section.proxy.address)), 1),
            SOURCES: _sources(section),
            RELAYS: {_url(one): f"{relay_set(one.id)}|{one.id}" for one in section.relays}
            | dict.fromkeys(map(str, section.askers), ASKS),
            CONTROL: {
                "calls": limits.calls,
                "own": limits.calls_per_subscriber,
                "rate": limits.rate,
                "seconds": limits.call_seconds,
                "ban": section.protection.ban,
                "failures": section.protection.failures,
                **({"mark": _mark(accounts)} if section.virtual else {}),
            },
        },
        rows={"plan": _plan(section), "rtpengine": _relays(section)},
        settings={
            ("registrar", "min_expires"): least,
            ("registrar", "max_expires"): most,
            ("registrar", "default_expires"): most,
            ("registrar", "max_contacts"): limits.contacts,
        },
    )


def _mark(accounts: str) -> str:
    """What two proxies that share an address both know, and nobody else. It changes with the accounts."""
    return blake2b(accounts.encode(), digest_size=16, person=b"nf-voice-mark").hexdigest()


def _accounts(section: KamailioSection, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, rest = line.strip().partition(":")
        domain, _, ha1 = rest.partition(":")
        if not user or domain not in section.domains or _HA1.fullmatch(ha1) is None:
            # The line itself stays unsaid: it is a credential.
            raise RuleError(
                f"line {number} of {section.accounts} is no user:domain:HA1 of a domain of the voice core",
                'make it with: printf "%s:%s:%s" USER DOMAIN PASSWORD | md5sum',
            )
        found[f"{user}@{domain}"] = ha1
    return found


def _sources(section: KamailioSection) -> dict[str, str]:
    found = {str(one.address): SIBLING for one in section.siblings}
    found |= {str(one.address): f"m;{one.id}" for one in section.media_servers}
    for trunk in section.trunks:
        for gateway in trunk.gateways:
            value = f"t;{trunk.id};{trunk.calls or ''};{_permitted(trunk)};{_codecs(trunk)}"
            if found.setdefault(str(gateway.address), value) != value:
                raise RuleError(
                    f"{gateway.address} is the address of trunk {trunk.id} and of another",
                    "give each trunk, and each media server, addresses of its own",
                )
    return found


def _permitted(trunk: Trunk) -> str:
    prefixes = sorted(re.sub(r"([+*])", r"[\1]", one) for one in trunk.permitted)
    return f"^({'|'.join(prefixes)})" if all(prefixes) and prefixes else "^" if prefixes else ""


def _codecs(trunk: Trunk) -> str:
    """Keys are pressed in every codec (RFC 4733)."""
    if not trunk.codecs:
        return ""
    return " ".join(
        ("codec-mask-all", "codec-except-telephone-event", *(f"codec-transcode-{one}" for one in trunk.codecs))
    )


def _plan(section: KamailioSection) -> tuple[Row, ...]:
    trunks = {one.id: one for one in section.trunks}
    found: dict[str, str] = {}
    for route in sorted(section.plan, key=lambda one: len(one.prefix)):
        value = f"{route.strip}|{route.prepend}|{route_rules([trunks[name] for name in route.trunks])}"
        # The tree has no root of its own: what matches everything is written once for each first character.
        found.update(dict.fromkeys((route.prefix,) if route.prefix else _CHARACTERS, value))
    return tuple(sorted(found.items()))


def _relays(section: KamailioSection) -> tuple[Row, ...]:
    region, regions = section.proxy.region, {one.region for one in section.relays}
    # The first set is there whatever the regions are: Kamailio does not start without it.
    near = {region} if region in regions else regions
    # A drained relay is out of the sets that new calls ask, and stays in its own: there its calls find it.
    return tuple(
        row
        for one in section.relays
        for row in (
            (REGION_SET if one.region in near else SPARE_SET, _url(one), one.weight, int(one.drained)),
            (relay_set(one.id), _url(one), one.weight, 0),
        )
    )


def _url(relay: Relay) -> str:
    return f"udp:{relay.address}:{relay.control}"
