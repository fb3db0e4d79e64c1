"""A session's rules, followed through what real daemons said to each other."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp.ies import (
    Action,
    ApplyAction,
    Cause,
    DestinationInterface,
    FarId,
    FSeid,
    FTeid,
    OuterHeaderCreation,
    PdnType,
    PdrId,
    Precedence,
    SNssai,
    SourceInterface,
    UeIpAddress,
    UserId,
    ie,
)
from core5g.pfcp.rules import CreatedPdr, CreateFar, CreatePdr, Forwarding, Pdi, RemovePdr, UpdateFar, UpdatePdr
from core5g.pfcp.session import MAX_PENDING, TABLE, Answer, Change, Phase, SessionView
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, PfcpError, decode, encode, group
from tests.core5g.pfcp.recordings import RUNS, recorded, smf

CP, UP = FSeid(5, IPv4Address("10.0.0.1")), FSeid(9, IPv4Address("10.0.0.2"))
GNB = IPv4Address("10.0.0.7")
REQUEST, RESPONSE = MessageType.SESSION_MODIFICATION_REQUEST, MessageType.SESSION_MODIFICATION_RESPONSE
UPLINK = CreatePdr(
    PdrId(1),
    Precedence(255),
    Pdi(SourceInterface.ACCESS, FTeid(choose=True, choose_ipv4=True), ue_ips=(UeIpAddress(IPv4Address("10.45.0.2")),)),
    far_id=FarId(1),
)
FORWARD = CreateFar(FarId(1), ApplyAction(Action.FORW), Forwarding(DestinationInterface.CORE))
TUNNEL = FTeid(77, IPv4Address("10.0.0.2"))


def established() -> SessionView:
    view = SessionView()
    request = Message(
        MessageType.SESSION_ESTABLISHMENT_REQUEST, 1, 0, (ie(CP), UPLINK.ie(), FORWARD.ie(), ie(PdnType.IPV4))
    )
    created = CreatedPdr(PdrId(1), TUNNEL).ie()
    assert view.apply(request) is Change.NOTHING
    assert view.phase is Phase.NEW
    answer = Message(MessageType.SESSION_ESTABLISHMENT_RESPONSE, 1, 5, (ie(Cause.ACCEPTED), ie(UP), created))
    assert view.apply(answer) is Change.BEGIN
    return view


def change(view: SessionView, *ies: Ie, cause: Cause = Cause.ACCEPTED, seq: int = 2) -> Change:
    view.apply(Message(REQUEST, seq, 9, ies))
    return view.apply(Message(RESPONSE, seq, 5, (ie(cause),)))


def test_the_session_of_the_real_smf() -> None:
    view = SessionView()
    changes = []
    for one in smf():
        changed = view.apply(decode(one.data))
        if changed is Change.BEGIN:
            assert view.access_tunnels == ()
            assert (view.ids(IeType.CREATE_PDR), view.ids(IeType.CREATE_FAR)) == ({1, 2, 3, 4}, {1, 2, 3})
        if changed is not Change.NOTHING:
            changes.append(changed)
        if changes == [Change.BEGIN, Change.MODIFY]:  # what the relay put in
            assert set(view.pdrs) == {1, 2, 3, 4, 0x7001}
            assert view.fars[0x7001].forwarding is not None
    assert changes == [Change.BEGIN, Change.MODIFY, Change.MODIFY, Change.END]
    assert view.phase is Phase.ENDED
    assert view.ue_ip == IPv4Address("10.45.0.2")
    assert (view.supi, view.dnn, view.s_nssai) == ("imsi-999700000000001", "internet", SNssai(1))
    assert view.user_id == UserId("999700000000001", "4370816125816151", "0900000000")
    assert view.pdn_type is PdnType.IPV4
    assert view.cp == FSeid(0x87E, IPv4Address("10.50.0.4"))
    assert view.up == FSeid(0x3CF, IPv4Address("10.50.0.7"))
    assert view.access_tunnels == (FTeid(0x9001, IPv4Address("10.50.0.2")),)
    uplink, of_smf = (FTeid(teid, IPv4Address("10.50.0.7")) for teid in (0x899, 0xDD99))
    assert view.fteids == (uplink, of_smf)
    assert [view.fteid_of(number) for number in (1, 2, 3, 4, 0x7001)] == [None, uplink, of_smf, uplink, uplink]


@pytest.mark.parametrize("run", RUNS)
def test_every_recorded_session(run: str) -> None:
    """All sessions of a run at once, told apart as a relay does it: by SEIDs and by who answers whom."""
    waiting: dict[tuple[bool, int], SessionView] = {}
    views: dict[int, SessionView] = {}
    ended = rejected = 0
    for one in recorded():
        message = decode(one.data)
        if one.run != run or message.seid is None:
            continue
        if message.type is MessageType.SESSION_ESTABLISHMENT_REQUEST:
            view = SessionView()
        elif message.type in (MessageType.SESSION_MODIFICATION_REQUEST, MessageType.SESSION_DELETION_REQUEST):
            view = views[message.seid]
        else:
            found = waiting.pop((not one.up, message.seq), None)
            if found is None:
                continue  # reports
            view = found
        if one.up:
            waiting[True, message.seq] = view
        changed = view.apply(message)
        if changed is Change.BEGIN:
            assert view.up is not None
            views[view.up.seid] = view
            first = view.pdrs
            assert first or "no_pdr" in one.name
        ended += changed is Change.END
        rejected += changed is Change.REJECTED
        if changed in (Change.BEGIN, Change.MODIFY):
            assert all(number == pdr.id for number, pdr in view.pdrs.items())
            assert all(number == far.id for number, far in view.fars.items())
            again = SessionView()
            again.apply(Message(MessageType.SESSION_ESTABLISHMENT_REQUEST, 1, 0, view.establishment()))
            again.apply(Message(MessageType.SESSION_ESTABLISHMENT_RESPONSE, 1, 1, (ie(Cause.ACCEPTED),)))
            assert (set(again.pdrs), again.fars) == (set(view.pdrs), view.fars)
            assert (again.ue_ips, again.dnn) == (view.ue_ips, view.dnn)
    assert (ended, rejected) == {"run1": (0, 0), "run2": (4, 0), "run3": (39, 6)}[run]


def test_a_rejected_change_changes_nothing() -> None:
    view = established()
    before = view.establishment()
    assert change(view, RemovePdr(PdrId(1)).ie(), cause=Cause.MANDATORY_IE_MISSING) is Change.REJECTED
    assert view.establishment() == before


def test_a_change_counts_when_it_is_answered_and_once() -> None:
    view = established()
    request = Message(REQUEST, 2, 9, (RemovePdr(PdrId(1)).ie(),))
    answer = Message(RESPONSE, 2, 5, (ie(Cause.ACCEPTED),))
    assert view.apply(answer) is Change.NOTHING
    view.apply(request)
    view.apply(request)  # repeated by an SMF that did not hear the answer
    assert set(view.pdrs) == {1}
    assert view.apply(answer) is Change.MODIFY
    assert view.apply(answer) is Change.NOTHING
    assert view.pdrs == {}


def test_idle_and_handover_as_a_gnb_sees_them() -> None:
    view = established()
    down = CreateFar(FarId(2), ApplyAction(Action.BUFF | Action.NOCP))
    assert change(view, down.ie()) is Change.MODIFY
    assert view.access_tunnels == ()
    header = OuterHeaderCreation.gtpu(3, GNB)
    active = UpdateFar(FarId(2), ApplyAction(Action.FORW), Forwarding(DestinationInterface.ACCESS, None, header))
    change(view, active.ie())
    assert view.access_tunnels == (FTeid(3, GNB),)
    # Another gNB; the flag that asks for end markers is of this message only, the destination is as it was.
    flags = Ie(IeType.PFCPSMREQ_FLAGS, b"\2")
    moved = Forwarding(outer_header=OuterHeaderCreation.gtpu(4, GNB), other=(flags,))
    change(view, UpdateFar(FarId(2), forwarding=moved).ie())
    assert view.access_tunnels == (FTeid(4, GNB),)
    assert view.fars[2].forwarding == Forwarding(DestinationInterface.ACCESS, outer_header=moved.outer_header)
    change(view, UpdateFar(FarId(2), ApplyAction(Action.BUFF | Action.NOCP)).ie())
    assert view.access_tunnels == (FTeid(4, GNB),)
    assert view.fars[2].apply_action.actions == Action.BUFF | Action.NOCP


def test_a_pdi_is_replaced_as_a_whole_and_the_rest_stays() -> None:
    view = established()
    pdi = Pdi(SourceInterface.CORE)
    change(view, UpdatePdr(PdrId(1), pdi=pdi, other=(Ie(600, b"?"),)).ie())
    assert view.pdrs[1] == CreatePdr(PdrId(1), Precedence(255), pdi, far_id=FarId(1), other=(Ie(600, b"?"),))


def test_numbers_can_be_used_anew_in_one_message() -> None:
    view = established()
    other = CreatePdr(PdrId(1), Precedence(1), Pdi(SourceInterface.CORE))
    change(view, other.ie(), RemovePdr(PdrId(1)).ie())
    assert view.pdrs == {1: other}


def test_a_session_is_established_anew_with_the_tunnel_that_gnbs_know() -> None:
    view = established()
    message = Message(MessageType.SESSION_ESTABLISHMENT_REQUEST, 8, 0, view.establishment())
    pdr = CreatePdr.decode(decode(encode(message)).need(IeType.CREATE_PDR))
    assert pdr.pdi.fteid == TUNNEL
    assert message.ies[0] == ie(CP)
    # Its answer under the same view renews what the UPF said.
    view.apply(message)
    moved = FSeid(10, IPv4Address("10.0.0.2"))
    answer = Message(MessageType.SESSION_ESTABLISHMENT_RESPONSE, 8, 5, (ie(Cause.ACCEPTED), ie(moved)))
    assert view.apply(answer) is Change.MODIFY
    assert view.up == moved
    assert view.fteids == (TUNNEL,)


def test_the_smf_moves_its_end() -> None:
    view = established()
    moved = FSeid(6, IPv4Address("10.0.0.3"))
    change(view, ie(moved))
    assert view.cp == moved
    assert view.establishment()[0] == ie(moved)


def test_what_is_of_the_session_and_of_no_rule_can_change() -> None:
    view = established()
    change(view, ie(PdnType.IPV6), Ie(IeType.PFCPSMREQ_FLAGS, b"\1"))
    assert view.pdn_type is PdnType.IPV6
    assert IeType.PFCPSMREQ_FLAGS not in [one.type for one in view.establishment()]


def test_a_rule_that_is_beyond_us_hides_neither_address_nor_tunnel() -> None:
    view = established()
    pdi = group(IeType.PDI, [Ie(IeType.SOURCE_INTERFACE, b"\x0e"), ie(UeIpAddress(IPv4Address("10.45.0.9")))])
    change(view, group(IeType.CREATE_PDR, [ie(PdrId(7)), pdi]))
    assert view.ue_ips == (IPv4Address("10.45.0.2"), IPv4Address("10.45.0.9"))
    assert view.fteids == (TUNNEL,)
    with pytest.raises(PfcpError):
        _ = view.pdrs


def test_addresses_of_traffic_endpoints_and_those_that_the_upf_picked() -> None:
    view = established()
    endpoint = group(
        IeType.CREATE_TRAFFIC_ENDPOINT,
        [Ie(IeType.TRAFFIC_ENDPOINT_ID, b"\1"), ie(UeIpAddress(IPv4Address("10.45.0.3")))],
    )
    picked = CreatedPdr(PdrId(1), None, (UeIpAddress(IPv4Address("10.45.0.4")),)).ie()
    view.apply(Message(REQUEST, 2, 9, (endpoint,)))
    view.apply(Message(RESPONSE, 2, 5, (ie(Cause.ACCEPTED), picked)))
    assert view.ue_ips == tuple(IPv4Address(f"10.45.0.{last}") for last in (2, 4, 3))


def test_a_session_that_the_upf_does_not_know_has_ended() -> None:
    view = established()
    assert change(view, cause=Cause.SESSION_CONTEXT_NOT_FOUND) is Change.END
    with pytest.raises(PfcpError, match="ended"):
        change(view)


def test_an_establishment_that_is_refused() -> None:
    view = SessionView()
    view.apply(Message(MessageType.SESSION_ESTABLISHMENT_REQUEST, 1, 0, (ie(CP),)))
    refusal = Message(MessageType.SESSION_ESTABLISHMENT_RESPONSE, 1, 5, (ie(Cause.NO_RESOURCES_AVAILABLE),))
    assert view.apply(refusal) is Change.REJECTED
    assert (view.phase, view.cp, view.ue_ip, view.supi, view.dnn) == (Phase.ENDED, None, None, None, None)


@pytest.mark.parametrize(
    "ies",
    [
        (UpdateFar(FarId(99), ApplyAction(Action.DROP)).ie(),),
        (RemovePdr(PdrId(1)).ie(), group(IeType.CREATE_FAR, [])),
        (RemovePdr(PdrId(1)).ie(), Ie(IeType.CREATE_QER, b"\0")),
        (RemovePdr(PdrId(1)).ie(), Ie(IeType.F_SEID, b"\0")),
    ],
)
def test_what_makes_no_sense_leaves_the_view_as_it_was(ies: tuple[Ie, ...]) -> None:
    view = established()
    before = view.establishment()
    with pytest.raises(PfcpError):
        change(view, *ies)
    assert view.establishment() == before
    assert view.phase is Phase.ACTIVE


def test_requests_without_answers_do_not_pile_up() -> None:
    view = established()
    for seq in range(2, 2 + 3 * MAX_PENDING):
        view.apply(Message(REQUEST, seq, 9, (RemovePdr(PdrId(1)).ie(),)))
    assert view.apply(Message(RESPONSE, 2, 5, (ie(Cause.ACCEPTED),))) is Change.NOTHING
    last = Message(RESPONSE, 1 + 3 * MAX_PENDING, 5, (ie(Cause.ACCEPTED),))
    assert view.apply(last) is Change.MODIFY


def test_reports_and_heartbeats_change_nothing() -> None:
    view = established()
    assert view.apply(Message(MessageType.SESSION_REPORT_REQUEST, 1, 5)) is Change.NOTHING
    assert view.apply(Message(MessageType.HEARTBEAT_RESPONSE, 1)) is Change.NOTHING
    wrong = Message(MessageType.SESSION_DELETION_RESPONSE, 2, 5, (ie(Cause.ACCEPTED),))
    view.apply(Message(REQUEST, 2, 9))
    assert view.apply(wrong) is Change.NOTHING


rule_ids = st.integers(1, 4)
deeds = st.one_of(
    st.builds(lambda n: CreatePdr(PdrId(n), Precedence(n), Pdi(SourceInterface.CORE)).ie(), rule_ids),
    st.builds(lambda n: RemovePdr(PdrId(n)).ie(), rule_ids),
    st.builds(lambda n: CreateFar(FarId(n), ApplyAction(Action.FORW)).ie(), rule_ids),
    st.builds(lambda n: UpdateFar(FarId(n), ApplyAction(Action.DROP)).ie(), rule_ids),
    st.builds(lambda n: UpdatePdr(PdrId(n), far_id=FarId(n)).ie(), rule_ids),
)


@given(st.lists(st.tuples(st.lists(deeds, max_size=4), st.sampled_from([Cause.ACCEPTED, Cause.REJECTED])), max_size=8))
def test_any_changes(sent: list[tuple[list[Ie], Cause]]) -> None:
    view = established()
    for seq, (ies, cause) in enumerate(sent, 2):
        before = view.establishment()
        try:
            changed = change(view, *ies, cause=cause, seq=seq)
        except PfcpError:  # an update of what is not there
            changed = Change.REJECTED
        if changed is Change.REJECTED:
            assert view.establishment() == before
        assert view.ids(IeType.CREATE_PDR) == set(view.pdrs)
        assert view.ids(IeType.CREATE_FAR) == set(view.fars)


def test_the_table_has_no_way_back() -> None:
    assert not any(phase is Phase.ENDED for phase, _ in TABLE)
    assert all((Phase.ACTIVE, answer) in TABLE for answer in Answer)
