"""Requests that wait at a shield which hangs: their sockets are ended, so that Traffic Server asks another shield."""

from __future__ import annotations

from ipaddress import IPv4Address

from nf.media.sockdiag import SYN_SENT_AND_ESTABLISHED, Condition, End, end_sockets


def end_requests(address: IPv4Address, port: int, uid: int) -> int:
    """End what user `uid` has open to there; how many. Blocking, for some milliseconds. Raises OSError."""
    condition = Condition(End.PEER, address, port)
    return end_sockets(condition, SYN_SENT_AND_ESTABLISHED, lambda one: one.uid != uid)
