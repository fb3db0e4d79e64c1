"""The link of the lab: what rain does to the carrier and to the beacon, and when a demodulator holds lock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from lab.devices.modcods import MODCODS
from lab.devices.rf import Carrier

NO_CARRIER_DB10 = -1000
# How much more an uplink at 14.25 GHz suffers than a beacon at 11.7 GHz: (14.25 / 11.7) ** 2, P.618, 2.2.1.3.1.
UPLINK_TO_BEACON = 1.48
_CARRIER_TIMEOUT_S = 0.5


def beacon_fade_db(uplink_fade_db: float) -> float:
    return uplink_fade_db / UPLINK_TO_BEACON


def threshold_db(modcod: int, implementation_loss_db: float) -> float:
    """Es/N0 below which a demodulator has no lock. Raises KeyError for a MODCOD that there is not."""
    return MODCODS[modcod].es_n0_db + implementation_loss_db


class Lock(Enum):
    UNLOCKED = 1
    ACQUIRING = 2
    LOCKED = 3


@dataclass(frozen=True, slots=True)
class Tuning:
    frequency_100khz: int
    symbol_rate: int
    relock_s: float

    def hears(self, carrier: Carrier) -> bool:
        """Whether a carrier is within the acquisition range: a quarter of the symbol rate, which must be right."""
        offset_hz = abs(carrier.frequency_100khz - self.frequency_100khz) * 100_000
        return carrier.symbol_rate == self.symbol_rate and offset_hz <= self.symbol_rate / 4


@dataclass(frozen=True, slots=True)
class Received:
    """A carrier as it arrives: `es_n0_db` with all fades in it."""

    carrier: Carrier
    es_n0_db: float
    at: float


class Demodulator:
    """Lock, and how it is lost and won. Times in seconds of one monotonic clock."""

    def __init__(self, tuning: Tuning, implementation_loss_db: float) -> None:
        self.tuning = tuning
        self.lock = Lock.UNLOCKED
        self.received: Received | None = None
        self.relocks = 0
        self.last_outage_s = 0.0
        self._loss_db = implementation_loss_db
        self._shape: Carrier | None = None  # what it holds, or is about to
        self._acquiring_since = 0.0
        self._lost_at: float | None = None

    def retune(self, tuning: Tuning, now: float) -> None:
        """A new relock time alone disturbs nothing."""
        moved = replace(tuning, relock_s=self.tuning.relock_s) != self.tuning
        self.tuning = tuning
        if moved:
            self._lose(now)
            self.received = None

    def margin_db(self) -> float | None:
        if self.received is None:
            return None
        return self.received.es_n0_db - threshold_db(self.received.carrier.modcod, self._loss_db)

    def receive(self, received: Received) -> bool:
        """One frame. Whether what it carries comes out."""
        if not self.tuning.hears(received.carrier) or received.carrier.modcod not in MODCODS:
            return False
        self.received = received
        if received.es_n0_db < threshold_db(received.carrier.modcod, self._loss_db):
            self._lose(received.at)
        else:
            self._hold(_shape(received.carrier), received.at)
        return self.lock is Lock.LOCKED

    def idle(self, now: float) -> None:
        """Time goes by; a carrier that is silent for long is gone."""
        if self.received is not None and now - self.received.at > _CARRIER_TIMEOUT_S:
            self.received = None
            self._lose(now)

    def _hold(self, shape: Carrier, now: float) -> None:
        if shape != self._shape:
            self._lose(now)
            self.lock, self._shape, self._acquiring_since = Lock.ACQUIRING, shape, now
        if self.lock is Lock.ACQUIRING and now - self._acquiring_since >= self.tuning.relock_s:
            self.lock = Lock.LOCKED
            if self._lost_at is not None:
                self.relocks += 1
                self.last_outage_s = now - self._lost_at
                self._lost_at = None

    def _lose(self, now: float) -> None:
        if self.lock is Lock.LOCKED:
            self._lost_at = now
        self.lock, self._shape = Lock.UNLOCKED, None


def _shape(carrier: Carrier) -> Carrier:
    """What a demodulator has to find again when it changes."""
    return replace(carrier, carrier_id=b"", frequency_100khz=0)
