"""What a UPF accepts, ignores and wipes, row by row: the recorded modification, then a ping, then what was counted."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from lab.mobile import gtpu, pfcp
from lab.mobile.pfcp import Cause, T
from tests.core5g.conformance.conftest import Lab
from tests.core5g.conformance.radio import Gnb, echo
from tests.core5g.conformance.replay import Caller, Exchange, Translation, exchanges, masked

pytestmark = pytest.mark.root

CDN, OTHER = "203.0.113.10", "198.51.100.10"


class Row(NamedTuple):
    """`cause`, `offending`: of the answer. `then`: what becomes of a ping to `to`: `reply`, `buffered` (and reported),
    `nothing`, or `refused` with an Error Indication, since the session has lost its rules."""

    name: str
    then: str
    cause: int = Cause.ACCEPTED
    offending: int | None = None
    to: str = CDN


ROWS = (
    Row("far_core_n6_no_change", "reply"),
    Row("far_core_without_n6_type", "buffered"),
    Row("far_sgilan(dst_if 2)", "buffered"),
    Row("far_forwarding_policy(IE41)", "reply"),
    Row("far_redirect_info(IE38 ipv4)", "reply"),
    Row("far_redirect_info(IE38 url)", "reply"),
    Row("far_ohc_udp_ipv4(0x0400)", "refused", 76, T.OUTER_HEADER_CREATION),
    Row("far_ohc_ipv4(0x1000)", "refused", 76, T.OUTER_HEADER_CREATION),
    Row("far_drop_on_n6", "reply"),
    Row("far_drop_no_params", "buffered"),
    Row("far_dupl_no_params(FORW|DUPL)", "reply"),
    Row("far_forw|dupl + DuplicatingParams IE5", "reply"),
    Row("pdr_missing_far_id", "refused", 66, T.FAR_ID),
    Row("pdr_far_id_never_created", "buffered"),
    Row("pdr_application_id(IE24)", "buffered"),
    Row("sdf_bad_syntax -> match-all?", "buffered", to=OTHER),
    Row("sdf_two_filters", "buffered", to=OTHER),
    Row("sdf_17_filters(max 15)", "reply"),
    Row("sdf_tcp_443", "reply"),
    Row("pdr_x20_same_session(max 16)", "refused", 75, T.PDR_ID),
    Row("update_pdr_add_sdf", "nothing", to=OTHER),
    Row("update_far_unknown", "refused", 69, T.FAR_ID),
    Row("remove_pdr_unknown", "reply"),
    Row("update_far_2_to_drop", "reply"),
    Row("update_far_1_BUFF|NOCP (DL report)", "buffered"),
    Row("update_qer_gate_closed", "reply"),
    Row("create_traffic_endpoint(IE127)", "reply"),
    Row("update_far_1_to_cp(3)", "buffered"),
    Row("query_urr(IE77)", "reply"),
)

RECORDED = {exchange.name: exchange for exchange in exchanges("run3")}


def _exchange(caller: Caller, exchange: Exchange, translation: Translation) -> bytes:
    assert exchange.answer is not None
    live = caller.ask_raw(translation.request(exchange.request))
    translation.learn(exchange.answer, live)
    return live


class Ue(NamedTuple):
    """`teid`: the UPF's; `gnb_teid`: that of its gNB."""

    address: str
    teid: int
    gnb_teid: int


def _ue(establishment: Exchange, teid: int) -> Ue:
    message = pfcp.parse(establishment.request)
    pdi = pfcp.members(pfcp.first(pfcp.members(message.all(T.CREATE_PDR)[0]), T.PDI) or b"")
    address, _ = pfcp.ue_addresses(pfcp.first(pdi, T.UE_IP_ADDRESS) or b"")
    far = pfcp.members(message.all(T.CREATE_FAR)[0])
    creation = pfcp.first(pfcp.members(pfcp.first(far, T.FORWARDING_PARAMETERS) or b""), T.OUTER_HEADER_CREATION)
    tunnel = pfcp.outer_tunnel(creation or b"")
    assert address is not None
    assert tunnel is not None
    return Ue(str(address), teid, tunnel[0])


def _teid(live: bytes) -> int:
    created = pfcp.members(pfcp.parse(live).all(T.CREATED_PDR)[0])
    return pfcp.FTeid.parse(pfcp.first(created, T.F_TEID) or b"").teid


def _seen(row: Row, gnb: Gnb, caller: Caller, ue: Ue) -> None:
    if row.then == "reply":
        header, packet, _ = gnb.receive()
        assert (header.type, header.teid, header.qfi) == (gtpu.G_PDU, ue.gnb_teid, 1)
        assert packet[12:20] == echo(row.to, ue.address)[12:20]
        assert packet[20] == 0
    elif row.then == "refused":
        header, _, whole = gnb.receive()
        assert whole == gtpu.error_indication(ue.teid, 1, pfcp.address_of("10.50.0.7"))
    elif row.then == "buffered":
        assert caller.report().first(T.REPORT_TYPE) == b"\1"
        assert gnb.settled() == []
    else:
        assert gnb.settled() == []
        caller.heartbeat()
        assert caller.reports == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_row_of_the_matrix(rows: Lab, translation: Translation, row: Row) -> None:
    caller, gnb = rows.caller("10.50.0.1"), rows.gnb
    establishment, modification, deletion = (RECORDED[f"{act}_{row.name}"] for act in ("est", "mod", "del"))
    ue = _ue(establishment, _teid(_exchange(caller, establishment, translation)))
    answer = pfcp.parse(_exchange(caller, modification, translation))
    offending = pfcp.number(answer.first(T.OFFENDING_IE))
    assert (pfcp.number(answer.first(T.CAUSE)), offending) == (row.cause, row.offending)
    gnb.send(ue.teid, echo(ue.address, row.to))
    _seen(row, gnb, caller, ue)
    live = _exchange(caller, deletion, translation)
    assert deletion.answer is not None
    assert masked(live) == masked(deletion.answer)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("est_ue_ip_outside_pool", 1),
        ("est_unknown_dnn", 75),
        ("est_no_pdn_type", 1),
        ("est_ue_ip_choose_CHV4", 1),
        ("est_no_pdr_at_all", 1),
        ("est_cp_assigned_fteid(ch=0)", 1),
    ],
)
def test_row_of_establishments(rows: Lab, translation: Translation, name: str, cause: int) -> None:
    caller, exchange = rows.caller("10.50.0.1"), RECORDED[name]
    live = _exchange(caller, exchange, translation)
    assert pfcp.number(pfcp.parse(live).first(T.CAUSE)) == cause
    assert exchange.answer is not None
    assert masked(live) == masked(exchange.answer)
    if cause == 1:
        _delete(caller, live)


def _delete(caller: Caller, established: bytes) -> None:
    seid = pfcp.seid_of(pfcp.parse(established).first(T.F_SEID))
    request = pfcp.build(pfcp.Kind.SESSION_DELETION_REQUEST, caller.next_seq(), seid=seid)
    assert caller.ask(request).first(T.CAUSE) == b"\1"
