"""The proxy as a process: one loop over the table's socket and the queriers' timers.

    python -m headend.multicast.kernel.process --section JSON --ready FILE

`FILE` is made once the table is had and the first queries are out. On SIGTERM the kernel's table goes with the process.
"""

from __future__ import annotations

import argparse
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.documents import ProxySection
from headend.multicast.kernel.forwarding import outputs_of, work
from headend.multicast.kernel.querier import Intervals, Key, Querier
from headend.multicast.kernel.sockets import Speaker, Table, Upstream

_LONGEST_WAIT_S = 5.0


class Proxy:
    """Raises DriverError when the table is another's or an interface has no address."""

    def __init__(self, section: ProxySection) -> None:
        intervals = Intervals(
            query_s=float(section.query_interval_s),
            last_member_query_s=section.last_member_query_interval_ds / 10,
            last_member_query_count=section.last_member_query_count,
        )
        self._table = Table((section.uplink, *section.access))
        self._upstream = Upstream(section.uplink)
        self._speakers = {vif: Speaker(name) for vif, name in enumerate(section.access, start=1)}
        now = time.monotonic()
        self._queriers = {vif: Querier(s.address, intervals, now) for vif, s in self._speakers.items()}
        self._outputs: dict[Key, frozenset[int]] = {}

    def run(self, ready: Path | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._table.socket, selectors.EVENT_READ)
            self._step(time.monotonic())
            if ready is not None:
                ready.parent.mkdir(parents=True, exist_ok=True)
                ready.touch()
            while True:
                now = time.monotonic()
                due = min((querier.next_timeout(now) for querier in self._queriers.values()), default=now)
                if selector.select(min(max(0.0, due - now), _LONGEST_WAIT_S)):
                    self._drain()
                self._step(time.monotonic())

    def _drain(self) -> None:
        """A report is answered and forwarded for before the next turn of the loop reads more."""
        for _ in range(256):
            try:
                received = self._table.receive()
            except BlockingIOError:
                return
            if received is not None:
                vif, sender, message = received
                querier = self._queriers.get(vif)
                if querier is not None and self._is_of(vif, sender):
                    querier.receive(message, sender, time.monotonic())

    def _is_of(self, vif: int, sender: IPv4Address) -> bool:
        """Our own reports and queries come back to the socket that owns the table."""
        return sender != self._speakers[vif].address

    def _step(self, now: float) -> None:
        for vif, querier in self._queriers.items():
            for query in querier.due(now):
                self._speakers[vif].say(query)
        after = outputs_of({vif: querier.wanted for vif, querier in self._queriers.items()})
        if after == self._outputs:
            return
        todo = work(self._outputs, after)
        self._table.write(todo)
        for key in todo.join:
            self._upstream.join(key)
        for key in todo.leave:
            self._upstream.leave(key)
        self._outputs = after


def _terminate(_number: int, _frame: object) -> None:
    sys.exit(0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="proxy", description=__doc__)
    parser.add_argument("--section", type=ProxySection.model_validate_json, required=True)
    parser.add_argument("--ready", type=Path)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        Proxy(options.section).run(options.ready)
    finally:
        if options.ready is not None:
            options.ready.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
