"""The process: rings, routes, time and the status socket, in one loop.

A turn takes what the rings hold every tenth of a second. The turn that follows a full second by 60 ms ends the
interval: by then the kernel has handed over every packet that came before it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from headend.datapath import STATUS_SOCKET
from headend.multicast.documents import MonitorSection
from headend.multicast.monitor.follow import Follows
from headend.multicast.monitor.meter import FlowFigures, Meter
from headend.multicast.monitor.packets import Classifier, FlowKey, Packets
from headend.multicast.monitor.ring import Ring, block_bytes_for
from headend.multicast.monitor.units import digest
from headend.multicast.tree.routes import RouteEvents, dump_routes
from nf.errors import DriverError, InputError

INTERVAL_NS = 1_000_000_000
_TURN_NS, _AFTER_NS = 100_000_000, 60_000_000
_LONGEST_GAP = 10 * INTERVAL_NS
"""The clock was set by more than this: what lies between was no time."""


def load(path: Path) -> tuple[MonitorSection, str]:
    """The section and its digest. Raises InputError."""
    try:
        text = path.read_bytes()
        return MonitorSection.model_validate_json(text), digest(text)
    except (OSError, ValueError) as error:
        raise InputError(f"no configuration of a monitor: {error}", where=str(path)) from error


class Monitor:
    """`now_ns`: wall clock, since packets bear its time."""

    def __init__(self, section: MonitorSection, now_ns: int) -> None:
        self._watches = section.flows
        self._groups = [int(watch.group) for watch in section.flows]
        self._block_bytes = block_bytes_for(sum(watch.rate_bps for watch in section.flows))
        self._meter = Meter([watch.encapsulation == "rtp" for watch in section.flows])
        self._figures: tuple[FlowFigures, ...] = tuple(FlowFigures() for _ in section.flows)
        self._follows = Follows(tuple((str(watch.source), str(watch.group)) for watch in section.flows))
        self._rings: dict[str, Ring | None] = dict.fromkeys(section.interfaces if section.flows else ())
        self._problems: dict[str, str] = {}
        self._dropped = 0
        self._begin = now_ns - now_ns % INTERVAL_NS
        self._intervals = 0
        self._classifier = self._classify()
        self.check(now_ns)

    def _classify(self) -> Classifier:
        follows = zip(self._watches, self._follows.flows, strict=True)
        return Classifier([FlowKey(w.source, w.group, w.port, follow.interface) for w, follow in follows])

    # -- what may change ----------------------------------------------------------------------------------------------

    def check(self, now_ns: int) -> None:
        """Open the interfaces that are there now, or there anew; read the routes."""
        for name, ring in self._rings.items():
            try:
                index = socket.if_nametoindex(name)
                if ring is None or ring.index != index:
                    if ring is not None:
                        self._close(ring)
                    self._rings[name] = None
                    self._rings[name] = Ring(name, self._groups, self._block_bytes)
                self._problems.pop(name, None)
            except OSError as error:
                self._problems[name] = f"interface {name} cannot be listened on: {error.strerror or error}"
        try:
            if self._follows.all(dump_routes(), now_ns):
                self._classifier = self._classify()
            self._problems.pop("routes", None)
        except DriverError as error:
            self._problems["routes"] = error.message

    def routes_changed(self, events: RouteEvents, now_ns: int) -> None:
        overruns = events.overruns
        moved = [self._follows.changed(change, now_ns) for change in events.take()]
        if events.overruns != overruns:
            self.check(now_ns)
        elif any(moved):
            self._classifier = self._classify()

    # -- measuring ----------------------------------------------------------------------------------------------------

    def turn(self, now_ns: int) -> bool:
        """Take what has come; whether an interval ended."""
        waiting: list[Packets] = []
        for ring in self._open():
            blocks = ring.take()
            if blocks is not None:
                waiting.append(self._classifier.packets(blocks.words, blocks.headers, ring.index))
        ended = False
        end = self._begin + INTERVAL_NS
        if not -INTERVAL_NS < now_ns - end < _LONGEST_GAP:
            self._begin = now_ns - now_ns % INTERVAL_NS  # the clock was set
            end = self._begin + INTERVAL_NS
        while now_ns >= end:
            for number, packets in enumerate(waiting):
                cut = int(np.searchsorted(packets.at_ns, end))
                self._feed(packets.where(slice(cut)))
                waiting[number] = packets.where(slice(cut, None))
            self._figures = self._meter.close(self._begin, end)
            self._begin, end, ended = end, end + INTERVAL_NS, True
            self._intervals += 1
        for packets in waiting:
            self._feed(packets)
        for ring in self._open():
            ring.release()
        return ended

    def _feed(self, packets: Packets) -> None:
        if not len(packets):
            return
        self._meter.take(packets)
        follows = self._follows.flows
        first = np.full(len(follows), -1, np.int64)
        last = first.copy()
        first[packets.flow[::-1]] = packets.at_ns[::-1]
        last[packets.flow] = packets.at_ns
        for number in np.flatnonzero(last >= 0).tolist():
            follows[number].arrive(int(first[number]), int(last[number]))

    # -- telling ------------------------------------------------------------------------------------------------------

    def _open(self) -> list[Ring]:
        return [ring for ring in self._rings.values() if ring is not None]

    def status(self, now_ns: int) -> dict[str, object]:
        """JSON. Figures are those of the last whole interval, counters as they were at its end."""
        rows = zip(self._watches, self._follows.flows, self._figures, strict=True)
        return {
            "version": 1,
            "pid": os.getpid(),
            "intervals": self._intervals,
            "problems": sorted(self._problems.values()),
            "dropped": self._dropped + sum(ring.count_drops() for ring in self._open()),
            "flows": [
                {
                    "channel": watch.channel,
                    "path": watch.path,
                    "leg": watch.leg,
                    "source": str(watch.source),
                    "group": str(watch.group),
                    "wanted": follow.wanted,
                    "first_packet_ms": follow.first_packet_ms,
                    "age_ms": None if follow.last_ns is None else max(0, now_ns - follow.last_ns) / 1e6,
                    **{key: value for key, value in asdict(figures).items() if key != "last_ns"},
                }
                for watch, follow, figures in rows
            ],
        }

    def _close(self, ring: Ring) -> None:
        self._dropped += ring.count_drops()
        ring.close()

    def close(self) -> None:
        for ring in self._open():
            ring.close()


def _next_turn(now_ns: int) -> int:
    return now_ns - (now_ns - _AFTER_NS) % _TURN_NS + _TURN_NS


def _answer(listener: socket.socket, monitor: Monitor, config: str) -> None:
    with suppress(OSError):  # who asked is gone
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(1.0)
            status = {**monitor.status(time.time_ns()), "config": config}
            connection.sendall(json.dumps(status).encode() + b"\n")


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


def run(config: Path, directory: Path) -> None:
    """Until SIGTERM or SIGINT. Raises InputError, and OSError when the sockets cannot be had."""
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    section, text_digest = load(config)
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    woken.setblocking(False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.set_wakeup_fd(waker.fileno())
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with waker, woken, RouteEvents() as events, selectors.DefaultSelector() as selector:
        monitor = Monitor(section, time.time_ns())
        selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(64))
        selector.register(events, selectors.EVENT_READ, lambda: monitor.routes_changed(events, time.time_ns()))
        with _listen(directory / STATUS_SOCKET) as listener:  # last: it says that all is there
            selector.register(listener, selectors.EVENT_READ, lambda: _answer(listener, monitor, text_digest))
            due = _next_turn(time.time_ns())
            while not stopped:
                wait_ns = due - time.time_ns()
                for key, _ in selector.select(min(max(0, wait_ns), _TURN_NS) / 1e9):
                    key.data()
                now_ns = time.time_ns()
                if not 0 < due - now_ns <= _TURN_NS:  # due, or the clock was set
                    if monitor.turn(now_ns):
                        monitor.check(now_ns)
                    due = _next_turn(time.time_ns())
        monitor.close()
        (directory / STATUS_SOCKET).unlink(missing_ok=True)
