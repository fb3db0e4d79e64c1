"""N3, N6 and N9 of a UPF: both IP versions, forged sources, unknown tunnels, two UPFs in a row, a CP's restart."""

from __future__ import annotations

import time
import urllib.request

import pytest

from lab.mobile import gtpu, pfcp
from lab.mobile.pfcp import Kind, T, ie
from tests.core5g.conformance.conftest import Lab
from tests.core5g.conformance.network import SERVER6, ip, until
from tests.core5g.conformance.radio import echo
from tests.core5g.conformance.replay import Caller, Translation, exchanges
from tests.core5g.daemons import LIMIT_S

pytestmark = pytest.mark.root

UE, CDN, OTHER = "10.45.0.2", "203.0.113.10", "198.51.100.10"
UE6 = "2001:db8:45:7::1"
GNB_TEID = 0x9001
_NWI = ie(T.NETWORK_INSTANCE, pfcp.dnn_labels("internet"))
_N3, _N6 = ie(T.INTERFACE_TYPE, b"\x0b"), ie(T.INTERFACE_TYPE, b"\x11")


def _number(ie_type: T, value: int, size: int = 4) -> bytes:
    return ie(ie_type, value.to_bytes(size))


def _establish(
    caller: Caller, cp_seid: int, pdn_type: int, ue: bytes, *, source_type: bytes = _N3, extra: bytes = b""
) -> tuple[int, int]:
    """A session as an SMF makes it, with its gNB known; SEID and TEID of the UPF. `ue`: flags and addresses."""
    down = ie(
        T.CREATE_PDR,
        *(_number(T.PDR_ID, 1, 2), _number(T.PRECEDENCE, 255)),
        ie(T.PDI, ie(T.SOURCE_INTERFACE, b"\1"), _NWI, ie(T.UE_IP_ADDRESS, bytes((ue[0] | 4,)), ue[1:]), _N6),
        *(_number(T.FAR_ID, 1), _number(T.QER_ID, 1)),
    )
    up = ie(
        T.CREATE_PDR,
        *(_number(T.PDR_ID, 2, 2), _number(T.PRECEDENCE, 255)),
        ie(T.PDI, ie(T.SOURCE_INTERFACE, b"\0"), ie(T.F_TEID, b"\5"), _NWI, ie(T.UE_IP_ADDRESS, ue), source_type),
        *(ie(T.OUTER_HEADER_REMOVAL, b"\6"), _number(T.FAR_ID, 2)),
    )
    gnb = pfcp.outer_header_creation(GNB_TEID, pfcp.address_of("10.50.0.2"))
    to_gnb = ie(T.FORWARDING_PARAMETERS, ie(T.DESTINATION_INTERFACE, b"\0"), _NWI, gnb, _N3)
    to_n6 = ie(T.FORWARDING_PARAMETERS, ie(T.DESTINATION_INTERFACE, b"\1"), _NWI, _N6)
    request = pfcp.build(
        Kind.SESSION_ESTABLISHMENT_REQUEST,
        caller.next_seq(),
        pfcp.node_id(pfcp.address_of(caller.address)),
        pfcp.f_seid(cp_seid, pfcp.address_of(caller.address)),
        *(down, up),
        ie(T.CREATE_FAR, _number(T.FAR_ID, 1), ie(T.APPLY_ACTION, b"\2\0"), to_gnb),
        ie(T.CREATE_FAR, _number(T.FAR_ID, 2), ie(T.APPLY_ACTION, b"\2\0"), to_n6),
        ie(T.CREATE_QER, _number(T.QER_ID, 1), ie(T.GATE_STATUS, b"\0"), ie(T.QFI, b"\1")),
        extra,
        ie(T.PDN_TYPE, bytes((pdn_type,))),
        ie(T.APN_DNN, pfcp.dnn_labels("internet")),
        seid=0,
    )
    answer = caller.ask(request)
    assert answer.first(T.CAUSE) == b"\1"
    created = pfcp.members(answer.all(T.CREATED_PDR)[0])
    return pfcp.seid_of(answer.first(T.F_SEID)), pfcp.FTeid.parse(pfcp.first(created, T.F_TEID) or b"").teid


def _v4(address: str = UE) -> bytes:
    return b"\2" + pfcp.address_of(address).packed


def _associated(lab: Lab) -> Caller:
    caller = lab.caller("10.50.0.1")
    caller.associate()
    return caller


def test_ipv4_and_ipv6_of_one_session(lab: Lab) -> None:
    both = b"\3" + pfcp.address_of(UE).packed + pfcp.address_of(UE6).packed
    _, teid = _establish(_associated(lab), 1, 3, both)
    for ue, server in ((UE, CDN), (UE6, SERVER6)):
        lab.gnb.send(teid, echo(ue, server))
        header, packet, _ = lab.gnb.receive()
        assert (header.teid, header.qfi) == (GNB_TEID, 1)
        assert pfcp.address_of(ue).packed in packet


def test_a_forged_source_is_dropped(lab: Lab) -> None:
    _, teid = _establish(_associated(lab), 1, 1, _v4())
    lab.gnb.send(teid, echo("10.45.0.99", CDN))
    lab.gnb.send(teid, echo(UE, CDN))
    assert [packet[16:20] for _, packet, _ in [lab.gnb.receive()]] == [pfcp.address_of(UE).packed]
    assert lab.gnb.settled() == []


def test_without_a_pdn_type_the_ue_has_no_address(lab: Lab) -> None:
    _, teid = _establish(_associated(lab), 1, 0, _v4())
    lab.gnb.send(teid, echo(UE, CDN))
    assert lab.gnb.settled() == []


def test_an_unknown_tunnel_is_refused_as_recorded(lab: Lab) -> None:
    lab.gnb.send(0x298, echo(UE, CDN))
    _, _, whole = lab.gnb.receive()
    assert whole.hex() == "361a00180000029800000085010001400100000010000002988500040a320007"


def test_from_n9_the_packet_is_dropped_without_a_word(lab: Lab) -> None:
    _, teid = _establish(_associated(lab), 1, 1, _v4(), source_type=ie(T.INTERFACE_TYPE, b"\x0f"))
    lab.gnb.send(teid, echo(UE, CDN))
    assert lab.gnb.settled() == []


def test_from_n9_for_roaming_it_leaves(lab: Lab) -> None:
    _, teid = _establish(_associated(lab), 1, 1, _v4(), source_type=ie(T.INTERFACE_TYPE, b"\x15"))
    lab.gnb.send(teid, echo(UE, CDN))
    assert lab.gnb.receive()[0].teid == GNB_TEID


def test_an_uplink_classifier_over_two_upfs(lab: Lab) -> None:
    """The recorded rules of both: traffic for the CDN goes over the edge both ways, the rest by the first UPF."""
    translation, recorded = Translation(), {}
    callers = {"psa2": lab.caller("10.50.0.3", "10.50.0.8"), "": _associated(lab)}
    callers["psa2"].associate()
    for exchange in exchanges("run3"):
        recorded.setdefault(exchange.name, exchange)
    teid = 0
    for name in ("session_establishment", "psa2_establishment_n3type", "ulcl_modification", "psa2_update_far_to_ulcl"):
        exchange = recorded[name]
        live = callers["psa2" if name.startswith("psa2") else ""].ask_raw(translation.request(exchange.request))
        assert exchange.answer is not None
        translation.learn(exchange.answer, live)
        if name == "session_establishment":
            created = pfcp.members(pfcp.parse(live).all(T.CREATED_PDR)[0])
            teid = pfcp.FTeid.parse(pfcp.first(created, T.F_TEID) or b"").teid
    ip("-n", lab.network.namespaces["upf"], "address", "del", f"{CDN}/32", "dev", "lo")
    try:
        for server in (CDN, OTHER):
            lab.gnb.send(teid, echo(UE, server))
            header, packet, _ = lab.gnb.receive()
            assert header.teid == 0x1041
            assert packet[12:16] == pfcp.address_of(server).packed
    finally:
        ip("-n", lab.network.namespaces["upf"], "address", "add", f"{CDN}/32", "dev", "lo")


def _update_far(caller: Caller, seid: int, *parts: bytes) -> None:
    update = ie(T.UPDATE_FAR, _number(T.FAR_ID, 1), *parts)
    answer = caller.ask(pfcp.build(Kind.SESSION_MODIFICATION_REQUEST, caller.next_seq(), update, seid=seid))
    assert answer.first(T.CAUSE) == b"\1"


def test_idle_buffers_and_reports_once_and_gives_all_of_it_afterwards(lab: Lab) -> None:
    caller = _associated(lab)
    seid, teid = _establish(caller, 1, 1, _v4())
    _update_far(caller, seid, ie(T.APPLY_ACTION, b"\x0c\0"))
    for _ in range(3):
        lab.gnb.send(teid, echo(UE, CDN))
    assert caller.report().first(T.REPORT_TYPE) == b"\1"
    assert lab.gnb.settled() == []
    caller.heartbeat()
    assert caller.reports == []
    new = ie(T.UPDATE_FORWARDING_PARAMETERS, pfcp.outer_header_creation(0x9002, pfcp.address_of("10.50.0.2")))
    _update_far(caller, seid, ie(T.APPLY_ACTION, b"\2\0"), new)
    assert [header.teid for header, _, _ in lab.gnb.settled()] == [0x9002] * 3


def test_a_handover_ends_the_old_tunnel_with_a_marker(lab: Lab) -> None:
    caller = _associated(lab)
    seid, teid = _establish(caller, 1, 1, _v4())
    new = pfcp.outer_header_creation(0x9002, pfcp.address_of("10.50.0.2"))
    _update_far(caller, seid, ie(T.UPDATE_FORWARDING_PARAMETERS, new, ie(T.PFCPSMREQ_FLAGS, b"\2")))
    header, _, _ = lab.gnb.receive()
    assert (header.type, header.teid) == (gtpu.END_MARKER, GNB_TEID)
    lab.gnb.send(teid, echo(UE, CDN))
    assert lab.gnb.receive()[0].teid == 0x9002


def test_a_refused_downlink_is_reported(lab: Lab) -> None:
    caller = _associated(lab)
    _establish(caller, 1, 1, _v4())
    lab.gnb.socket.sendto(gtpu.error_indication(GNB_TEID, 0, pfcp.address_of("10.50.0.2")), lab.gnb.upf)
    report = caller.report()
    assert report.first(T.REPORT_TYPE) == b"\4"
    remote = pfcp.first(pfcp.members(report.first(T.ERROR_INDICATION_REPORT) or b""), T.F_TEID)
    assert pfcp.FTeid.parse(remote or b"").teid == GNB_TEID


def test_a_newer_recovery_time_stamp_deletes_the_sessions_of_that_cp_alone(lab: Lab) -> None:
    caller, other = _associated(lab), lab.caller("10.50.0.4")
    other.associate()
    _, lost = _establish(caller, 1, 1, _v4())
    _, kept = _establish(other, 1, 1, _v4("10.45.0.3"))
    caller.rts += 1
    caller.heartbeat()
    lab.gnb.send(lost, echo(UE, CDN))
    assert lab.gnb.receive()[0].type == gtpu.ERROR_INDICATION
    lab.gnb.send(kept, echo("10.45.0.3", CDN))
    assert lab.gnb.receive()[0].type == gtpu.G_PDU


def test_any_associated_cp_may_delete_a_session_and_one_that_is_not_gets_no_answer(lab: Lab) -> None:
    caller, other = _associated(lab), lab.caller("10.50.0.3")
    seid, teid = _establish(caller, 1, 1, _v4())
    deletion = pfcp.build(Kind.SESSION_DELETION_REQUEST, other.next_seq(), seid=seid)
    other.socket.sendto(deletion, other.upf)
    caller.heartbeat()
    lab.gnb.send(teid, echo(UE, CDN))
    assert lab.gnb.receive()[0].type == gtpu.G_PDU
    other.associate()
    assert other.ask(pfcp.build(Kind.SESSION_DELETION_REQUEST, other.next_seq(), seid=seid)).first(T.CAUSE) == b"\1"


def test_a_repeated_request_gets_the_same_answer(lab: Lab) -> None:
    caller = _associated(lab)
    exchange = next(e for e in exchanges("run1") if e.name == "session_establishment_basic")
    assert caller.ask_raw(exchange.request) == caller.ask_raw(exchange.request)


def test_volume_is_reported_at_its_threshold(lab: Lab) -> None:
    caller = _associated(lab)
    exchange = next(e for e in exchanges("run2") if e.name == "session_establishment_urr")
    created = pfcp.members(pfcp.parse(caller.ask_raw(exchange.request)).all(T.CREATED_PDR)[0])
    teid = pfcp.FTeid.parse(pfcp.first(created, T.F_TEID) or b"").teid
    for _ in range(4):
        lab.gnb.send(teid, echo(UE, CDN))
        lab.gnb.receive()
    report = caller.report()
    assert report.first(T.REPORT_TYPE) == b"\2"
    usage = pfcp.members(report.first(T.USAGE_REPORT_SESSION_REPORT) or b"")
    assert int.from_bytes((pfcp.first(usage, T.VOLUME_MEASUREMENT) or b"")[1:9]) == 420


def test_malformed_datagrams_leave_it_running(lab: Lab) -> None:
    caller = _associated(lab)
    for data in (
        b"",
        b"\x20",
        b"\x21\x32\x00\x04abcd",
        b"\x20\x05\xff\xff",
        bytes.fromhex("2005000900000100003c00ff00"),
    ):
        caller.socket.sendto(data, caller.upf)
        lab.gnb.socket.sendto(data, lab.gnb.upf)
    caller.heartbeat()
    assert lab.gnb.settled() == []


def test_metrics_have_the_real_names_and_the_two_of_n3_stay_at_zero(lab: Lab) -> None:
    _, teid = _establish(_associated(lab), 1, 1, _v4())
    lab.gnb.send(teid, echo(UE, CDN))
    lab.gnb.receive()
    deadline = time.monotonic() + LIMIT_S
    lines: list[str] = []
    while "fivegs_upffunction_upf_sessionnbr 1" not in lines:
        until(deadline)
        with urllib.request.urlopen("http://10.50.0.7:9090/metrics", timeout=LIMIT_S) as answer:
            lines = answer.read().decode().splitlines()
    assert "fivegs_ep_n3_gtp_indatapktn3upf 0" in lines
    assert "fivegs_ep_n3_gtp_outdatapktn3upf 0" in lines
