"""Connections to a VIP are ended, so that whoever waits for a sick cache is told at once and asks again."""

from __future__ import annotations

from ipaddress import IPv4Address

from nf.media.sockdiag import CONNECTED, Condition, End, end_sockets


def end_connections(address: IPv4Address) -> int:
    """End every connection to `address` on this host; how many. Blocking, for some milliseconds. Raises OSError."""
    return end_sockets(Condition(End.OWN, address), CONNECTED, lambda one: one.own != address)
