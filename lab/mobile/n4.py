"""What the recorded SMF sends over N4: the same information elements in the same order, of a session of ours."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lab.mobile import pfcp
from lab.mobile.pfcp import Address, Kind, T, ie

_ACCESS, _CORE, _CP = b"\0", b"\1", b"\3"
_FORW, _BUFF_NOCP = b"\2\0", b"\x0c\0"
_REMOVE_GTPU = ie(T.OUTER_HEADER_REMOVAL, b"\6")
_N3, _N6 = ie(T.INTERFACE_TYPE, b"\x0b"), ie(T.INTERFACE_TYPE, b"\x11")
_ROUTER_SOLICITATIONS = b"permit out 58 from ff02::2/128 to assigned"
_CHOOSE, _CHOOSE_SHARED = b"\7", b"\x0f\5"
_VOLUME = 100 << 20
_RATE_KBPS = 1_000_000
_SEND_END_MARKER = ie(T.PFCPSMREQ_FLAGS, b"\2")


@dataclass(frozen=True)
class Tunnel:
    teid: int
    address: Address


@dataclass
class PduSession:
    """A PDU session. `qfi`: of its one QoS flow. `upf`: where its uplink goes, once the UPF has said so."""

    supi: str
    psi: int
    dnn: str
    cp_seid: int
    own_teid: int
    v4: IPv4Address | None = None
    v6: IPv6Address | None = None
    sst: int = 1
    sd: str = "ffffff"
    qfi: int = 1
    imei: str = "4370816125816151"
    msisdn: str = "0900000000"
    up_seid: int = 0
    upf: Tunnel | None = None
    from_cp: Tunnel | None = None
    gnb: Tunnel | None = None

    @property
    def pdn_type(self) -> int:
        return (1 if self.v4 else 0) | (2 if self.v6 else 0)


def association(seq: int, address: Address, rts: int) -> bytes:
    stamp = ie(T.RECOVERY_TIME_STAMP, rts.to_bytes(4))
    features = ie(T.CP_FUNCTION_FEATURES, b"\0")
    return pfcp.build(Kind.ASSOCIATION_SETUP_REQUEST, seq, pfcp.node_id(address), stamp, features)


def heartbeat(seq: int, rts: int, *, answer: bool = False) -> bytes:
    kind = Kind.HEARTBEAT_RESPONSE if answer else Kind.HEARTBEAT_REQUEST
    return pfcp.build(kind, seq, ie(T.RECOVERY_TIME_STAMP, rts.to_bytes(4)))


def establishment(seq: int, session: PduSession, address: Address, *, restore: bool = False) -> bytes:
    """`restore`: after a restart of the UPF, with the tunnels it gave (TS 23.527; read in Open5GS, not recorded)."""
    nwi = ie(T.NETWORK_INSTANCE, pfcp.dnn_labels(session.dnn))
    far, qer = ie(T.FAR_ID, _id(1)), ie(T.QER_ID, _id(1))
    shared, own = ie(T.F_TEID, _CHOOSE_SHARED), ie(T.F_TEID, _CHOOSE)
    if restore and session.upf and session.from_cp:
        shared, own = _fteid(session.upf), _fteid(session.from_cp)
    qfi = ie(T.QFI, bytes((session.qfi,)))
    sdf = b"\1\0" + len(_ROUTER_SOLICITATIONS).to_bytes(2) + _ROUTER_SOLICITATIONS
    pdrs = (
        _pdr(1, 0xFFFF, (_source(_CORE), nwi, _ue_ip(session), _N6), far, ie(T.URR_ID, _id(1)), qer),
        _pdr(2, 0xFFFF, (_source(_ACCESS), shared, nwi, qfi, _N3), _REMOVE_GTPU, ie(T.FAR_ID, _id(2)), qer),
        _pdr(3, 0xFF, (_source(_CP), own), _REMOVE_GTPU, far),
        _pdr(4, 0xFF, (_source(_ACCESS), shared, nwi, ie(T.SDF_FILTER, sdf), _N3), _REMOVE_GTPU, ie(T.FAR_ID, _id(3))),
    )
    to_n6 = ie(T.FORWARDING_PARAMETERS, ie(T.DESTINATION_INTERFACE, _CORE), nwi, _N6)
    creation = pfcp.outer_header_creation(session.own_teid, address)
    to_cp = ie(T.FORWARDING_PARAMETERS, ie(T.DESTINATION_INTERFACE, _CP), creation)
    first = (ie(T.APPLY_ACTION, _BUFF_NOCP), ie(T.BAR_ID, b"\1"))
    if restore and session.gnb:
        first = (ie(T.APPLY_ACTION, _FORW), ie(T.FORWARDING_PARAMETERS, _to_gnb(session, session.gnb)))
    fars = (
        ie(T.CREATE_FAR, far, *first),
        ie(T.CREATE_FAR, ie(T.FAR_ID, _id(2)), ie(T.APPLY_ACTION, _FORW), to_n6),
        ie(T.CREATE_FAR, ie(T.FAR_ID, _id(3)), ie(T.APPLY_ACTION, _FORW), to_cp),
    )
    measured = (ie(T.MEASUREMENT_METHOD, b"\2"), ie(T.REPORTING_TRIGGERS, b"\2\0\0"))
    threshold = ie(T.VOLUME_THRESHOLD, b"\1", _VOLUME.to_bytes(8))
    rate = ie(T.MBR, 2 * _RATE_KBPS.to_bytes(5))
    return pfcp.build(
        Kind.SESSION_ESTABLISHMENT_REQUEST,
        seq,
        *(pfcp.node_id(address), pfcp.f_seid(session.cp_seid, address)),
        *(*pdrs, *fars),
        ie(T.CREATE_URR, ie(T.URR_ID, _id(1)), *measured, threshold),
        ie(T.CREATE_QER, qer, ie(T.GATE_STATUS, b"\0"), rate, qfi),
        ie(T.CREATE_BAR, ie(T.BAR_ID, b"\1")),
        ie(T.PDN_TYPE, bytes((session.pdn_type,))),
        ie(T.USER_ID, _user(session)),
        ie(T.APN_DNN, pfcp.dnn_labels(session.dnn)),
        ie(T.S_NSSAI, bytes((session.sst,)), bytes.fromhex(session.sd)),
        ie(T.PFCPSEREQ_FLAGS, b"\1") if restore else b"",
        seid=0,
    )


def to_gnb(seq: int, session: PduSession, gnb: Tunnel, *, leaving: bool = False) -> bytes:
    """The downlink goes to this gNB from now on; `leaving`: another one is told that it ends (TS 23.502, 4.9.1)."""
    parameters = _to_gnb(session, gnb) + (_SEND_END_MARKER if leaving else b"")
    update = ie(T.UPDATE_FORWARDING_PARAMETERS, parameters)
    return _modification(seq, session, ie(T.FAR_ID, _id(1)), ie(T.APPLY_ACTION, _FORW), update)


def idle(seq: int, session: PduSession) -> bytes:
    """The downlink is kept and told of (TS 23.502 clause 4.2.6)."""
    return _modification(seq, session, ie(T.FAR_ID, _id(1)), ie(T.APPLY_ACTION, _BUFF_NOCP))


def deletion(seq: int, session: PduSession) -> bytes:
    return pfcp.build(Kind.SESSION_DELETION_REQUEST, seq, seid=session.up_seid)


def _modification(seq: int, session: PduSession, *update: bytes) -> bytes:
    return pfcp.build(Kind.SESSION_MODIFICATION_REQUEST, seq, ie(T.UPDATE_FAR, *update), seid=session.up_seid)


def _to_gnb(session: PduSession, gnb: Tunnel) -> bytes:
    nwi = ie(T.NETWORK_INSTANCE, pfcp.dnn_labels(session.dnn))
    creation = pfcp.outer_header_creation(gnb.teid, gnb.address)
    return ie(T.DESTINATION_INTERFACE, _ACCESS) + nwi + creation + _N3


def _id(number: int) -> bytes:
    return number.to_bytes(4)


def _source(interface: bytes) -> bytes:
    return ie(T.SOURCE_INTERFACE, interface)


def _pdr(pdr_id: int, precedence: int, pdi: tuple[bytes, ...], *rest: bytes) -> bytes:
    head = ie(T.PDR_ID, pdr_id.to_bytes(2)) + ie(T.PRECEDENCE, precedence.to_bytes(4))
    return ie(T.CREATE_PDR, head, ie(T.PDI, *pdi), *rest)


def _fteid(tunnel: Tunnel) -> bytes:
    if isinstance(tunnel.address, IPv4Address):
        return pfcp.FTeid(tunnel.teid, tunnel.address).encode()
    return pfcp.FTeid(tunnel.teid, None, tunnel.address).encode()


def _ue_ip(session: PduSession) -> bytes:
    packed = (session.v4.packed if session.v4 else b"") + (session.v6.packed if session.v6 else b"")
    flags = 4 | (2 if session.v4 else 0) | (1 if session.v6 else 0)
    return ie(T.UE_IP_ADDRESS, bytes((flags,)), packed)


def _user(session: PduSession) -> bytes:
    """User ID (TS 29.244 clause 8.2.101): IMSI, IMEI, MSISDN."""
    values = (_tbcd(session.supi.removeprefix("imsi-")), _tbcd(session.imei), _tbcd(session.msisdn))
    return b"\7" + b"".join(bytes((len(value),)) + value for value in values)


def _tbcd(digits: str) -> bytes:
    """Telephony binary coded decimal (TS 29.002): the lower digit first, filled up with F."""
    even = digits + "f" * (len(digits) % 2)
    return bytes(int(even[at + 1] + even[at], 16) for at in range(0, len(even), 2))
