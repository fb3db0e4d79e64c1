"""One programme from two contributions: the backup takes over when the primary falls silent. Sans-IO.

The backup is kept from its last random access point on, so that it begins with one, its tables before it, at the moment
of the switch. Its time stamps are moved to go on where the others ended, what would repeat a time is left out, and each
PID begins with discontinuity_indicator (ISO/IEC 13818-1, 2.4.3.5): a packager goes on numbering, a decoder loses no
more than the gap.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from nf.media.ingest.ts import (
    CLOCK_HZ,
    Tables,
    begins_payload,
    decoding_stamp,
    is_random_access,
    is_scrambled,
    later,
    marked,
    moved,
    packets,
    payload_of,
    pcr_base,
    pid_of,
    presentation_stamp,
)

_KEPT_PACKETS = 60_000
"""About 11 MB: ten seconds at 9 Mbit/s. A stream without a random access point for longer is taken as it comes."""

_IN_DATAGRAM = 7
_LEAST_STEP, _MOST_STEP = CLOCK_HZ // 50, CLOCK_HZ // 10
"""Between the last picture of one contribution and the first of the other; the least where no usual one is known."""


class Role(Enum):
    PRIMARY = "primary"
    BACKUP = "backup"

    @property
    def other(self) -> Role:
        return Role.BACKUP if self is Role.PRIMARY else Role.PRIMARY


@dataclass(frozen=True, slots=True)
class Rules:
    """`detect_s`: silence after which the other one is taken. `failback_s`: how long the primary has to be there again
    before it is taken back by itself; None: only when somebody says so."""

    detect_s: float = 0.4
    failback_s: float | None = None


@dataclass(slots=True)
class Feed:
    """One contribution. `heard_at`, `since`: last packet, and the first after silence; None = silent from the start."""

    tables: Tables = field(default_factory=Tables)
    heard_at: float | None = None
    since: float | None = None
    datagrams: int = 0
    kept: list[bytes] = field(default_factory=list)
    kept_head: list[bytes] = field(default_factory=list)
    scrambled: bool = False

    def alive(self, now: float, detect_s: float) -> bool:
        return self.heard_at is not None and now - self.heard_at < detect_s

    def take(self, received: list[bytes], now: float, detect_s: float) -> bool:
        """Whether a random access point is among `received`."""
        if not self.alive(now, detect_s):
            self.since = now
            self.kept = []
        self.heard_at = now
        self.datagrams += 1
        begins = False
        for packet in received:
            self.tables.see(packet)
            self.scrambled = self.scrambled or is_scrambled(packet)
            video = self.tables.video_pid
            if is_random_access(packet) and video in (None, pid_of(packet)):
                begins, self.kept, self.kept_head = True, [], self.tables.head
            elif not self.kept:
                continue
            self.kept.append(packet)
        if len(self.kept) > _KEPT_PACKETS:
            self.kept = []
        return begins


class Switch:
    """`receive` and `tick` give the datagrams to send on. Times are seconds on a clock that goes forward.

    active        whose packets go out; None before the first
    switches      how often another one was taken, by reason: "silence", "failback"
    last_gap_s    what nothing went out for, at the last switch
    """

    def __init__(self, rules: Rules, now: float) -> None:
        self.feeds = {role: Feed() for role in Role}
        self.active: Role | None = None
        self.switches: Counter[str] = Counter()
        self.last_gap_s: float | None = None
        self.last_at: float | None = None
        self._rules = rules
        self._started_at = now
        self._sent_at: float | None = None
        self._pcr: tuple[int, float] | None = None
        self._stamps: dict[int, int] = {}
        self._steps: dict[int, int] = {}
        self._shown: dict[int, int] = {}
        self._offset = 0
        self._told: set[int] | None = None
        self._unclocked = False
        self._asked_back = False

    def ask_failback(self) -> None:
        """The primary is taken at its next random access point. Nothing happens while it is silent."""
        self._asked_back = self.active is Role.BACKUP

    def receive(self, role: Role, datagram: bytes, now: float) -> list[bytes]:
        """One datagram of `role`; what is no transport stream is passed over, and is silence."""
        received = list(packets(payload_of(datagram)))
        if not received:
            return []
        begins = self.feeds[role].take(received, now, self._rules.detect_s)
        if role is self.active:
            return self._send(received, now, datagram)
        if self._wants(role, now, begins):
            return self._take(role, now, "failback" if self._goes_back(role, now) else "silence")
        return []

    def tick(self, now: float) -> list[bytes]:
        """To be called every few hundredths of a second: silence makes no sound."""
        for role in Role:
            feed = self.feeds[role]
            if role is not self.active and feed.alive(now, self._rules.detect_s) and self._wants(role, now, False):
                return self._take(role, now, "silence")
        return []

    def _goes_back(self, role: Role, now: float) -> bool:
        return role is Role.PRIMARY and self.active is not None and self._is_alive(self.active, now)

    def _is_alive(self, role: Role, now: float) -> bool:
        return self.feeds[role].alive(now, self._rules.detect_s)

    def _wants(self, role: Role, now: float, begins: bool) -> bool:
        feed, rules = self.feeds[role], self._rules
        if self.active is None:
            patient = role is Role.BACKUP and now - self._started_at < rules.detect_s
            return not patient
        if not self._is_alive(self.active, now):
            # A stream that never says where to begin is taken after as long again as the silence lasted.
            silent_s = now - (self.feeds[self.active].heard_at or 0.0)
            return bool(feed.kept) or silent_s >= 2 * rules.detect_s
        if role is Role.BACKUP or not begins:
            return False
        since = feed.since if feed.since is not None else now
        return self._asked_back or (rules.failback_s is not None and now - since >= rules.failback_s)

    def _take(self, role: Role, now: float, reason: str) -> list[bytes]:
        feed = self.feeds[role]
        first = [*feed.kept_head, *feed.kept] if feed.kept else feed.tables.head
        if self.active is not None:
            self.switches[reason] += 1
            self.last_gap_s = None if self._sent_at is None else now - self._sent_at
            self.last_at = now
            self._offset = 0 if feed.scrambled else self._continuing(feed.kept, now)
            self._told, self._unclocked = set(), True
        self.active, self._asked_back = role, False
        return self._send(first, now)

    def _continuing(self, first: list[bytes], now: float) -> int:
        """The offset by which the clock of what follows goes on from the one that was sent last, and by which its first
        picture comes after the last one."""
        begins = next((pcr for packet in first if (pcr := pcr_base(packet)) is not None), None)
        if begins is None or self._pcr is None:
            return 0
        pcr, at = self._pcr
        offset = later(pcr + round((now - at) * CLOCK_HZ), begins)
        pid = pid_of(first[0])
        step = self._steps.get(pid, _LEAST_STEP)
        # The last pictures may be shown later than they are decoded, and what stood between was not sent any more.
        for stamp, last in (
            (decoding_stamp(first[0]), self._stamps.get(pid)),
            (presentation_stamp(first[0]), self._shown.get(pid)),
        ):
            if stamp is not None and last is not None:
                offset += max(0, later(last + step, stamp + offset))
        return offset

    def _send(self, received: list[bytes], now: float, untouched: bytes = b"") -> list[bytes]:
        if not received:
            return []
        out: list[bytes] = []
        for packet in received:
            changed = moved(packet, self._offset)
            if self._told is not None and not self._is_due(changed):
                continue
            pcr = pcr_base(changed)
            if pcr is not None:
                self._pcr = (pcr, now)
            stamp = decoding_stamp(changed)
            if stamp is not None:
                self._keep_stamps(pid_of(changed), stamp, presentation_stamp(changed) or stamp)
            out += self._marked(changed, pcr is not None)
        self._sent_at = now
        if untouched and not self._offset and self._told is None:
            return [payload_of(untouched)]
        return [b"".join(out[i : i + _IN_DATAGRAM]) for i in range(0, len(out), _IN_DATAGRAM)]

    def _keep_stamps(self, pid: int, stamp: int, shown: int) -> None:
        last, latest = self._stamps.get(pid), self._shown.get(pid)
        if last is not None and _LEAST_STEP <= (step := later(stamp, last)) <= _MOST_STEP:
            self._steps[pid] = step
        if latest is None or not -CLOCK_HZ < later(shown, latest) <= 0:
            self._shown[pid] = shown
        self._stamps[pid] = stamp

    def _is_due(self, packet: bytes) -> bool:
        """After a switch a PID begins where a section or a PES packet does, later than what was sent of it last."""
        pid = pid_of(packet)
        if self._told is None or pid in self._told:
            return True
        stamp, last = decoding_stamp(packet), self._stamps.get(pid)
        return begins_payload(packet) and (stamp is None or last is None or later(stamp, last) > 0)

    def _marked(self, packet: bytes, has_pcr: bool) -> list[bytes]:
        """The first packet of each PID after a switch, and the first one with a clock."""
        if self._told is None:
            return [packet]
        pid = pid_of(packet)
        if pid in self._told and not (has_pcr and self._unclocked):
            return [packet]
        self._told.add(pid)
        self._unclocked = self._unclocked and not has_pcr
        return marked(packet)

    def status(self, now: float) -> dict[str, object]:
        """JSON. Ages and gaps in seconds, null when there is nothing yet."""
        feeds = {
            role.value: {
                "alive": feed.alive(now, self._rules.detect_s),
                "age_s": None if feed.heard_at is None else now - feed.heard_at,
                "datagrams": feed.datagrams,
            }
            for role, feed in self.feeds.items()
        }
        return {
            "active": None if self.active is None else self.active.value,
            "switches": sum(self.switches.values()),
            "last_gap_s": self.last_gap_s,
            "feeds": feeds,
        }
