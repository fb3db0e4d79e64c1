"""What NF-LAB-MIB says of every object, for the agents: `mibs/NF-LAB-MIB` is the text, a test holds both together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

Oid = tuple[int, ...]
Value = int | str | bytes

NF_LAB: Oid = (1, 3, 6, 1, 4, 1, 8072, 9999, 9999, 71)
ALARM_CHANGED: Oid = (*NF_LAB, 0, 1)


class Syntax(Enum):
    """Wire type. `TEXT` and `OCTETS` are one on the wire; an address is its dotted text here."""

    INTEGER = "integer"
    UNSIGNED = "unsigned"
    GAUGE = "gauge"
    COUNTER32 = "counter32"
    COUNTER64 = "counter64"
    TIMETICKS = "timeticks"
    TEXT = "text"
    OCTETS = "octets"
    IPADDRESS = "ipaddress"
    OID = "oid"


@dataclass(frozen=True, slots=True)
class Spec:
    """One object. `oid` is below `NF_LAB`, without an instance; `low` and `high` bound a number, or a length."""

    name: str
    oid: Oid
    syntax: Syntax
    writable: bool
    low: int | None = None
    high: int | None = None

    @property
    def group(self) -> str:
        """The prefix of the name: rows of a table share it, and so do the scalars of one kind of device."""
        return next(group for group in GROUPS if self.name.startswith(group))

    @property
    def columnar(self) -> bool:
        return self.group in TABLES

    def row_oid(self, row: int) -> Oid:
        return (*NF_LAB, *self.oid, row)


TABLES = ("Alarm", "Enc", "Svc")
GROUPS = ("Sys", *TABLES, "Mux", "Mod", "Rcv")

_OBJECTS = """
SysDeviceKind            1.1.1     integer   ro 1..4
SysModel                 1.1.2     text      ro 0..64
SysSerialNumber          1.1.3     text      ro 0..64
SysSoftwareVersion       1.1.4     text      ro 0..64
SysRebootCommand         1.1.5     integer   rw 1..2
AlarmState               1.1.6.1.2 integer   ro 1..2
AlarmSeverity            1.1.6.1.3 integer   ro 1..4
AlarmText                1.1.6.1.4 text      ro 0..128
AlarmLastChange          1.1.6.1.5 timeticks ro
AlarmRaisedCount         1.1.6.1.6 counter32 ro
EncName                  1.2.1.1.2 text      rw 1..32
EncAdminState            1.2.1.1.3 integer   rw 1..2
EncInputAddress          1.2.1.1.4 ipaddress rw
EncInputPort             1.2.1.1.5 unsigned  rw 1024..65535
EncOutputAddress         1.2.1.1.6 ipaddress rw
EncOutputPort            1.2.1.1.7 unsigned  rw 1024..65535
EncBitRate               1.2.1.1.8 unsigned  rw 300..20000
EncActualBitRate         1.2.1.1.9 gauge     ro
EncInputLock             1.2.1.1.10 integer   ro 1..2
EncInputBitRate          1.2.1.1.11 gauge     ro
EncOutputPackets         1.2.1.1.12 counter64 ro
EncRestarts              1.2.1.1.13 counter32 ro
MuxOutputAdminState      1.3.1.1   integer   rw 1..2
MuxOutputAddress         1.3.1.2   ipaddress rw
MuxOutputPort            1.3.1.3   unsigned  rw 1024..65535
MuxOutputMode            1.3.1.4   integer   rw 1..2
MuxOutputBitRate         1.3.1.5   unsigned  rw 100000..100000000
MuxTransportStreamId     1.3.1.6   unsigned  rw 1..65535
MuxOriginalNetworkId     1.3.1.7   unsigned  rw 1..65535
MuxNetworkName           1.3.1.8   text      rw 1..32
MuxActualBitRate         1.3.1.9   gauge     ro
MuxOutputPackets         1.3.1.10  counter64 ro
MuxNullPackets           1.3.1.11  counter64 ro
MuxTablePackets          1.3.1.12  counter64 ro
MuxOverflowPackets       1.3.1.13  counter64 ro
SvcAdminState            1.3.2.1.2 integer   rw 1..2
SvcServiceId             1.3.2.1.3 unsigned  rw 1..65535
SvcName                  1.3.2.1.4 text      rw 1..32
SvcProvider              1.3.2.1.5 text      rw 0..32
SvcInputAddress          1.3.2.1.6 ipaddress rw
SvcInputPort             1.3.2.1.7 unsigned  rw 1024..65535
SvcPidBase               1.3.2.1.8 unsigned  rw 32..8174
SvcMaxBitRate            1.3.2.1.9 unsigned  rw 0..100000000
SvcInputState            1.3.2.1.10 integer   ro 1..2
SvcInputBitRate          1.3.2.1.11 gauge     ro
SvcOutputBitRate         1.3.2.1.12 gauge     ro
SvcOverflowPackets       1.3.2.1.13 counter64 ro
SvcContinuityErrors      1.3.2.1.14 counter64 ro
ModStagedModcod          1.4.1.1   integer   rw 1..67
ModStagedSymbolRate      1.4.1.2   unsigned  rw 1000..720000
ModStagedRollOff         1.4.1.3   integer   rw 1..6
ModStagedPilot           1.4.1.4   integer   rw 1..2
ModStagedFrequency       1.4.1.5   unsigned  rw 9500..310000
ModCommit                1.4.1.6   integer   rw 1..3
ModPendingChanges        1.4.1.7   gauge     ro
ModCommitCount           1.4.1.8   counter32 ro
ModActiveModcod          1.4.2.1   integer   ro 1..67
ModActiveSymbolRate      1.4.2.2   unsigned  ro 1000..720000
ModActiveRollOff         1.4.2.3   integer   ro 1..6
ModActivePilot           1.4.2.4   integer   ro 1..2
ModActiveFrequency       1.4.2.5   unsigned  ro 9500..310000
ModNetBitRate            1.4.2.6   gauge     ro
ModTxEnable              1.4.3.1   integer   rw 0..1
ModTxLevel               1.4.3.2   integer   rw -500..200
ModTxLevelNominal        1.4.3.3   integer   ro -500..200
ModTxLevelMaximum        1.4.3.4   integer   ro -500..200
ModEirp                  1.4.3.5   integer   ro
ModCarrierIdEnable       1.4.3.6   integer   rw 1..2
ModCarrierId             1.4.3.7   octets    ro 8..8
ModOutputPackets         1.4.3.8   counter64 ro
ModInputAddress          1.4.4.1   ipaddress rw
ModInputPort             1.4.4.2   unsigned  rw 1024..65535
ModInputLock             1.4.4.3   integer   ro 1..2
ModInputBitRate          1.4.4.4   gauge     ro
ModInputPackets          1.4.4.5   counter64 ro
ModDroppedPackets        1.4.4.6   counter64 ro
ModNullPackets           1.4.4.7   counter64 ro
ModQueueDelay            1.4.4.8   gauge     ro
ModQueueDelayPeak        1.4.4.9   gauge     ro
ModBeaconLock            1.4.5.1   integer   ro 1..2
ModBeaconLevel           1.4.5.2   integer   ro
ModBeaconLevelNominal    1.4.5.3   integer   ro
RcvFrequency             1.5.1.1   unsigned  rw 9500..310000
RcvSymbolRate            1.5.1.2   unsigned  rw 1000..720000
RcvRelockTime            1.5.1.3   unsigned  rw 0..10000
RcvLock                  1.5.2.1   integer   ro 1..3
RcvEsN0                  1.5.2.2   integer   ro
RcvMargin                1.5.2.3   integer   ro
RcvRxPower               1.5.2.4   integer   ro
RcvModcod                1.5.2.5   integer   ro 0..67
RcvRollOff               1.5.2.6   integer   ro 0..6
RcvPilot                 1.5.2.7   integer   ro 0..2
RcvCarrierId             1.5.2.8   octets    ro 0..8
RcvRelockCount           1.5.2.9   counter32 ro
RcvLastOutage            1.5.2.10  gauge     ro
RcvLostFrames            1.5.2.11  counter64 ro
RcvOutputAdminState      1.5.3.1   integer   rw 1..2
RcvOutputAddress         1.5.3.2   ipaddress rw
RcvOutputPort            1.5.3.3   unsigned  rw 1024..65535
RcvOutputBitRate         1.5.3.4   gauge     ro
RcvOutputPackets         1.5.3.5   counter64 ro
"""


def _parse(line: str) -> Spec:
    name, oid, syntax, access, *bounds = line.split()
    low, high = map(int, bounds[0].split("..")) if bounds else (None, None)
    return Spec(name, tuple(map(int, oid.split("."))), Syntax(syntax), access == "rw", low, high)


SPECS = {spec.name: spec for spec in map(_parse, _OBJECTS.strip().splitlines())}
