"""The routes to the sources of single feeds: which neighbour each is taken from, and the kernel's routes for that."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address

from headend.multicast.output import hostroute, ways
from headend.multicast.output.channel import Channel
from headend.multicast.output.config import SINGLE, FeedConfig
from headend.multicast.output.ring import LAG_S
from headend.multicast.output.steering import Steering
from headend.multicast.output.switch import Beat
from headend.multicast.outputs import error_text
from headend.multicast.route import interfaces_towards

_WAYS_S = 0.25
"""So long what was read of the router's ways is believed."""
_CHECK_S = 1.0


class Sources:
    """Routes that an earlier life left behind are taken away at the start, and its own at the end.

    An interface that goes down takes our routes with it without a word to zebra, which keeps them and goes by them
    again when it is up (docs/frr.md). So a route that is still wanted is put in again, and one that was not there to be
    taken away is put in and taken away once that can be done.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._steerings: dict[IPv4Address, Steering] = {}
        self._feeds: dict[IPv4Address, dict[Hashable, tuple[FeedConfig, Beat]]] = {}
        self._led: dict[IPv4Address, IPv4Address] = {}
        self._ghosts: dict[IPv4Address, IPv4Address] = {}
        self._checked_at: float | None = None
        self._ways: ways.Ways = {}
        self._ways_at: float | None = None
        with suppress(OSError):
            hostroute.release_all()

    def use(self, channels: Iterable[Channel], now: float) -> None:
        """Watch over these from now on."""
        feeds: dict[IPv4Address, dict[Hashable, tuple[FeedConfig, Beat]]] = {}
        for channel in channels:
            feed, beat = channel.config.feeds[0], channel.beat
            if channel.config.mode == SINGLE and feed.alternates and beat is not None:
                feeds.setdefault(feed.source, {})[channel.config.key] = (feed, beat)
        for source in self._steerings.keys() - feeds.keys():
            del self._steerings[source]
            self._lead(source, None)
        for source in feeds.keys() - self._steerings.keys():
            self._steerings[source] = Steering(now)
        self._feeds = feeds

    def tick(self, now: float) -> None:
        """Call it after everything that arrived until `now` was taken."""
        judged = now - LAG_S  # what came since may not have been handed over
        for source, steering in self._steerings.items():
            feeds = self._feeds[source]
            beats = {key: beat for key, (_, beat) in feeds.items()}
            named: Mapping[Hashable, Hashable] = {}
            alternates: list[IPv4Address] = []
            if steering.via is not None or steering.suspects(beats, judged):
                known = self._known(now)
                named = {key: known.get((feed.source, feed.group)) for key, (feed, _) in feeds.items()}
                silent = {named[key] for key, beat in beats.items() if beat.silent(judged)} - {None}
                alternates = _ordered((feed for feed, _ in feeds.values()), silent)
            steering.tick(beats, named, alternates, judged)
            if self._led.get(source) != steering.via:
                self._lead(source, steering.via)
        if (self._led or self._ghosts) and (self._checked_at is None or now - self._checked_at >= _CHECK_S):
            self._checked_at = now
            self._check()

    def _check(self) -> None:
        """Nothing while an interface is down: it is tried again."""
        for source, via in self._led.items():
            with suppress(OSError):
                if not hostroute.stands(source, via):
                    hostroute.lead(source, via)
        for source, via in list(self._ghosts.items()):
            with suppress(OSError):
                hostroute.lead(source, via)
                hostroute.release(source)
                del self._ghosts[source]

    def _known(self, now: float) -> ways.Ways:
        if self._ways_at is None or now - self._ways_at > _WAYS_S:
            self._ways, self._ways_at = ways.read(), now
        return self._ways

    def _lead(self, source: IPv4Address, via: IPv4Address | None) -> None:
        """A route that cannot be had is a way by which nothing comes: the next is tried in its time."""
        before = self._led.get(source)
        try:
            if via is not None:
                hostroute.lead(source, via)
                self._ghosts.pop(source, None)
            elif not hostroute.release(source) and before is not None:
                self._ghosts[source] = before
        except OSError as error:
            self.problem = f"no route to {source} by {via or 'its own way'}: {error_text(error)}"
        else:
            self.problem = ""
        if via is None:
            self._led.pop(source, None)
        else:
            self._led[source] = via

    def status(self) -> list[dict[str, object]]:
        return [
            {
                "source": str(source),
                "state": steering.state.value,
                "via": None if steering.via is None else str(steering.via),
                "moves": steering.moves,
            }
            for source, steering in sorted(self._steerings.items())
        ]

    def close(self) -> None:
        with suppress(OSError):
            hostroute.release_all()


def _ordered(feeds: Iterable[FeedConfig], silent: set[Hashable]) -> list[IPv4Address]:
    """Alternates of these feeds; last those that are reached by an interface on which it is silent now."""
    found = list(dict.fromkeys(alternate for feed in feeds for alternate in feed.alternates))
    return sorted(found, key=lambda alternate: bool(silent & _names(alternate)))


def _names(neighbour: IPv4Address) -> set[Hashable]:
    try:
        return {socket.if_indextoname(number) for number in interfaces_towards(neighbour)}
    except OSError:
        return set()
