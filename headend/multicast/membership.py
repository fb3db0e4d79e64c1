"""Which (S, G) hosts ask for, behind one port or one tunnel, from their IGMPv3 reports (RFC 3376 section 6). Pure.

Every host is tracked for itself (as section A.2 suggests), so that a leave counts when the last host has left. Only
source-specific groups are followed: there a report that excludes sources means nothing (RFC 4604 section 2.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headend.multicast.igmp import Flow, GroupRecord, RecordType
from headend.multicast.ipv4 import is_source_specific

LIFETIME_S = 30.0
"""Group membership interval, section 8.4, for the routers' query interval of 10 s."""
LAST_MEMBER_S = 0.3
"""How long a leave waits for another host to object: the routers ask once and wait 0.1 s (section 8.10), and more."""
MAX_ENTRIES = 4096
"""Of a port."""

_UNKNOWN = -1
"""Stands for the hosts of what is believed until one of them reports."""
_LISTED = frozenset({RecordType.IS_INCLUDE, RecordType.ALLOW, RecordType.TO_INCLUDE})


class Membership:
    """`fast_leave`: the last host's leave counts at once. `limit`: entries beyond it are not believed; `over` counts
    them."""

    def __init__(self, *, fast_leave: bool, lifetime_s: float = LIFETIME_S, limit: int = MAX_ENTRIES) -> None:
        self.over = 0
        self._lifetime_s, self._limit = lifetime_s, limit
        self.fast_leave = fast_leave
        self._hosts: dict[Flow, dict[int, float]] = {}

    def joined(self) -> Iterator[Flow]:
        """In the order of their joins."""
        return iter(self._hosts)

    def believe(self, keys: Iterable[Flow], now: float) -> None:
        """Somebody asked for these in an earlier life, nobody knows who: until a host reports or leaves one, or none
        has for the lifetime of a report."""
        for key in keys:
            if key not in self._hosts:
                self._join(key, _UNKNOWN, now)

    def report(self, host: int, records: tuple[GroupRecord, ...], now: float) -> None:
        for record in records:
            if not is_source_specific(record.group):
                continue
            named = {(source, record.group) for source in record.sources}
            if record.type in _LISTED:
                for source in record.sources:
                    self._join((source, record.group), host, now)
            if record.type is RecordType.BLOCK:
                self._leave(named, host, now)
            elif record.type is RecordType.TO_INCLUDE:
                others = {
                    key
                    for key, hosts in self._hosts.items()
                    if key[1] == record.group and (host in hosts or _UNKNOWN in hosts)
                }
                self._leave(others - named, host, now)

    def expire(self, now: float) -> None:
        for key, hosts in list(self._hosts.items()):
            for host, until in list(hosts.items()):
                if until <= now:
                    del hosts[host]
            if not hosts:
                del self._hosts[key]

    def _join(self, key: Flow, host: int, now: float) -> None:
        if key in self._hosts or len(self._hosts) < self._limit:
            hosts = self._hosts.setdefault(key, {})
            hosts.pop(_UNKNOWN, None)
            hosts[host] = now + self._lifetime_s
        else:
            self.over += 1

    def _leave(self, keys: set[Flow], host: int, now: float) -> None:
        for key in keys & self._hosts.keys():
            hosts = self._hosts[key]
            leaving = _UNKNOWN if _UNKNOWN in hosts else host
            if leaving not in hosts:
                continue
            if self.fast_leave or len(hosts) > 1:
                del hosts[leaving]
            else:
                hosts[leaving] = min(hosts[leaving], now + LAST_MEMBER_S)
            if not hosts:
                del self._hosts[key]
