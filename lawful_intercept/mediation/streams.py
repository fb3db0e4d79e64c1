"""All lines there are: by session and product, with the outlets they are made of, and the checks that they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from lawful_intercept.handover.encryption import PayloadCipher
from lawful_intercept.mediation.correlation import Correlated, Counters, Sessions
from lawful_intercept.mediation.lines import Line, Outlet, Staging
from lawful_intercept.mediation.products import Product

_Stream = tuple[str, str, int]


class Streams:
    """`stage_of`: what takes PS-PDUs for the spool of a label."""

    def __init__(self, sessions: Sessions, counters: Counters, stage_of: Callable[[str], Staging]) -> None:
        self._sessions = sessions
        self._counters = counters
        self._stage_of = stage_of
        self._outlets: dict[tuple[UUID, _Stream], Outlet] = {}
        self._lines: dict[int, dict[_Stream, Line]] = {}
        self._checked: set[Line] = set()

    def equip(self, outlets: Iterable[Outlet]) -> None:
        """Of a task's products, before any of it is taken."""
        self._outlets |= {(one.product.xid, one.product.stream): one for one in outlets}

    def strip(self, xid: UUID, now_ns: int) -> None:
        """A task's outlets are others now, or none: what was delivered is checked."""
        for cin, lines in list(self._lines.items()):
            if any(line.product.xid == xid for line in lines.values()):
                self._close(self._lines.pop(cin), now_ns)
        for stream in [stream for stream in self._outlets if stream[0] == xid]:
            del self._outlets[stream]

    def drop(self, session: Correlated, now_ns: int) -> None:
        """Nothing more comes of it."""
        self._close(self._lines.pop(session.cin, {}), now_ns)

    def _close(self, lines: Mapping[_Stream, Line], now_ns: int) -> None:
        for line in lines.values():
            line.close(now_ns)
            self._checked.discard(line)

    def line(self, product: Product, session: Correlated) -> Line:
        lines = self._lines.setdefault(session.cin, {})
        found = lines.get(product.stream)
        if found is None:
            outlet = self._outlets[product.xid, product.stream]
            stage = self._stage_of(f"{product.did}/{int(product.kind)}")
            found = lines[product.stream] = Line(outlet, session, self._sessions, self._counters.changed, stage)
        return found

    def cipher(self, product: Product) -> PayloadCipher | None:
        """Of what is encrypted."""
        return self._outlets[product.xid, product.stream].secrets.cipher

    def check(self, line: Line) -> None:
        """A check may be due of it by and by."""
        if line.next_due_ns is not None:
            self._checked.add(line)

    def due(self, now_ns: int) -> None:
        """Checks whose time has come."""
        for line in [line for line in self._checked if (line.next_due_ns or now_ns + 1) <= now_ns]:
            line.due(now_ns)
        self._checked = {line for line in self._checked if line.next_due_ns is not None}

    def holds(self) -> Mapping[str, int]:
        """By label: the first record of a spool that no integrity check covers yet."""
        found: dict[str, int] = {}
        for line in self._checked:
            if line.unhashed is not None:
                found[line.label] = min(line.unhashed, found.get(line.label, line.unhashed))
        return found

    def resume(self, products: Callable[[bytes], tuple[Product, ...]]) -> None:
        """After a restart: hashes that no signature covers are signed when they would have been."""
        for session in self._sessions.all():
            for product in products(session.xid):
                outlet = self._outlets[product.xid, product.stream]
                if outlet.unsigned(session):
                    self.check(self.line(product, session))

    def again(self, product: Product, cin: int, record: tuple[int, bytes], number: int, now_ns: int) -> None:
        """After a restart: a PDU of the spool that no check covers. `record`: its sequence number, and all of it."""
        session = next((one for one in self._sessions.all() if one.cin == cin), None)
        if session is not None:
            line = self.line(product, session)
            line.again(*record, number, now_ns)
            self.check(line)
