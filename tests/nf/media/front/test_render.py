"""Caddy's configuration of a front, as plain values."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address

from nf.media.documents import Parent
from nf.media.front.documents import FrontSection
from nf.media.front.render import render

SECTION = FrontSection(
    listen=(IPv4Address("10.255.0.3"),),
    certificates=("secret:cdn-tls",),
    upstream=Parent(address=IPv4Address("10.255.0.3"), port=80),
)


def listens(section: FrontSection) -> list[str]:
    found = json.loads(json.dumps(render(section, {"secret:cdn-tls": "/x.pem"}, "/run/admin")))
    listed: list[str] = found["apps"]["http"]["servers"]["front"]["listen"]
    return listed


def test_a_front_listens_by_ipv6_where_its_cache_does() -> None:
    assert listens(SECTION) == ["10.255.0.3:443"]
    both = SECTION.model_copy(update={"listen6": IPv6Address("2001:db8:ff::3")})
    assert listens(both) == ["10.255.0.3:443", "[2001:db8:ff::3]:443"]
