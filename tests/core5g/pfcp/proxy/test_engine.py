"""The proxy between a recorded SMF and fakes of UPFs: relayed, steered, and left alone when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp.ies import Cause, FSeid, FTeid, NodeId, RecoveryTimeStamp, ie
from core5g.pfcp.proxy.exchanges import FIRST_OWN, Outgoing
from core5g.pfcp.proxy.rulebook import RuleBook
from core5g.pfcp.proxy.telemetry import FAILED_OPEN, ProxyWatch
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, decode, encode, find, group, grouped, need
from nf.telemetry.alarms import AlarmEvent
from tests.core5g.pfcp.proxy.peers import EDGE, GNB, PROXY, SMF, SMF2, SUPI, UE, UPF, Net, malformed, recorded, section

THEIRS, OURS = {1, 2, 3, 4}, {0x7001, 0x7002}


def _own_far(net: Net, far: int = 0x7001) -> tuple[Ie, ...]:
    (book,) = net.upf.rules.values()
    found = book.far(far.to_bytes(4, "big"))
    assert found is not None
    return found


def _header(far: tuple[Ie, ...]) -> bytes | None:
    return find(grouped(find(far, IeType.FORWARDING_PARAMETERS) or b""), IeType.OUTER_HEADER_CREATION)


def _cause(message: Message) -> Cause:
    return Cause.decode(need(message.ies, IeType.CAUSE))


class TestRelay:
    def test_each_side_has_the_proxy_for_its_peer(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.establish())
        setup, establishment = net.upf.seen
        for message in (setup, establishment):
            assert str(NodeId.decode(need(message.ies, IeType.NODE_ID))) == PROXY.address
        assert str(FSeid.decode(need(establishment.ies, IeType.F_SEID)).ipv4) == PROXY.address
        to_smf = net.smf.seen[-1]
        assert str(NodeId.decode(need(to_smf.ies, IeType.NODE_ID))) == PROXY.address
        assert str(FSeid.decode(need(to_smf.ies, IeType.F_SEID)).ipv4) == PROXY.address
        assert to_smf.seid == 0x87E
        assert to_smf.seq == net.smf.seq

    def test_all_other_octets_go_by_as_they_are(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        data = net.smf.establish()
        net.send(SMF, data)
        changed = {IeType.NODE_ID, IeType.F_SEID}
        sent, arrived = decode(data), net.upf.seen[-1]
        assert [one for one in sent.ies if one.type not in changed] == [
            one for one in arrived.ies if one.type not in changed
        ]

    def test_a_repeated_request_is_done_once(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        data = net.smf.establish()
        for _ in range(3):
            net.send(SMF, data)
        assert len(net.upf.rules) == 1
        assert len([one for one in net.smf.seen if one.type == MessageType.SESSION_ESTABLISHMENT_RESPONSE]) == 3

    def test_a_lost_answer_is_made_good_by_the_repetition(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        data = net.smf.establish()
        net.lose = lambda one: one.to == UPF
        net.send(SMF, data)
        net.lose = lambda _: False
        net.send(SMF, data)
        assert net.lost[0].data == encode(net.upf.seen[-1]), "a repetition looks like one to the UPF"
        assert net.proxy.status()["sessions"] == 1

    def test_two_smfs_with_the_same_numbers_stay_apart(self) -> None:
        net = Net(edge=None, rules=[])
        for peer, smf, ue in ((SMF, net.smf, UE), (SMF2, net.smf2, "10.45.0.3")):
            net.send(peer, smf.associate())
            net.send(peer, smf.establish(seid=0x87E, ue=ue))
        assert net.proxy.status()["sessions"] == 2
        assert len({cp.seid for cp in net.upf.cp.values()}) == 2
        assert net.smf.seen[-1].seid == net.smf2.seen[-1].seid == 0x87E
        assert len({message.seq for message in net.upf.seen}) == len(net.upf.seen)

    def test_an_smf_touches_only_its_own_sessions(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.establish())
        net.send(SMF2, net.smf2.associate())
        (seid,) = net.upf.rules
        net.send(SMF2, net.smf2.release(seid))
        assert _cause(net.smf2.seen[-1]) is Cause.SESSION_CONTEXT_NOT_FOUND
        assert net.upf.rules

    def test_whoever_is_not_listed_is_refused_and_counted(self) -> None:
        net = Net()
        stranger = Peer("127.50.0.66", 8805)
        answer = [one for one in net.proxy.receive(net.smf.associate(), stranger, 0.0) if one.to == stranger]
        assert [_cause(decode(one.data)) for one in answer] == [Cause.REJECTED]
        assert not [one for one in net.proxy.receive(net.smf.establish(), stranger, 0.0) if one.to in {UPF, stranger}]
        assert net.proxy.counters["refused-peer"] == 2
        assert net.proxy.status()["last_refused"] == stranger.address

    @given(st.binary(max_size=80), st.sampled_from([SMF, UPF, EDGE]))
    def test_whatever_octets_come_it_goes_on(self, data: bytes, peer: Peer) -> None:
        net = Net()
        net.proxy.receive(data, peer, 0.0)

    @given(st.data(), st.sampled_from([SMF, UPF, EDGE]))
    def test_damaged_messages_do_no_harm(self, data: st.DataObject, peer: Peer) -> None:
        net = Net()
        net.steered()
        octets = bytearray(net.smf.establish())
        for _ in range(data.draw(st.integers(1, 6))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        net.proxy.receive(bytes(octets), peer, net.now)
        assert net.proxy.status()["steered"] == 1


class TestSteering:
    def test_rules_in_both_upfs(self) -> None:
        net = Net()
        net.steered()
        assert net.upf.ids() == [THEIRS | OURS]
        assert net.edge.ids() == [{1, 2}]
        (edge,) = net.edge.rules.values()
        (book,) = net.upf.rules.values()
        out = [pdr for pdr in book.pdrs() if find(pdr, IeType.PDR_ID) == b"\x70\x02"]
        filters = [one.value for one in grouped(find(out[0], IeType.PDI) or b"") if one.type == IeType.SDF_FILTER]
        assert filters == [b"\1\0\0\x2dpermit out ip from 203.0.113.0/24 to assigned"]
        uplink = next(pdr for pdr in edge.pdrs() if find(pdr, IeType.PDR_ID) == b"\0\2")
        at_edge = FTeid.decode(find(grouped(find(uplink, IeType.PDI) or b""), IeType.F_TEID) or b"")
        assert _header(_own_far(net, 0x7002)) == b"\1\0" + at_edge.teid.to_bytes(4, "big") + at_edge.ipv4.packed
        assert find(grouped(find(uplink, IeType.PDI) or b""), IeType.INTERFACE_TYPE_3GPP) == b"\x0b"
        establishment = next(one for one in net.edge.seen if one.type == MessageType.SESSION_ESTABLISHMENT_REQUEST)
        assert establishment.find(IeType.PDN_TYPE) == b"\1"

    def test_ours_are_away_from_the_numbers_of_an_smf(self) -> None:
        net = Net()
        net.steered()
        ours = [one for one in net.upf.seen if one.seq >= FIRST_OWN]
        assert ours
        assert all(one.seq < FIRST_OWN for one in net.smf.seen)

    def test_the_way_back_leads_where_the_smf_s_does(self) -> None:
        net = Net()
        seid = net.steered()
        assert _header(_own_far(net)) == b"\1\0\0\0\x90\1\x0a\x32\0\2"
        net.send(SMF, net.smf.idle(seid))
        assert find(_own_far(net), IeType.APPLY_ACTION) == b"\x0c\0"
        assert find(_own_far(net), IeType.BAR_ID) == b"\1"
        net.send(SMF, net.smf.connect(seid, (0x77, "10.50.0.3")))
        assert find(_own_far(net), IeType.APPLY_ACTION) == b"\2\0"
        assert _header(_own_far(net)) == b"\1\0\0\0\0\x77\x0a\x32\0\3"

    def test_a_handover_s_end_marker_goes_to_the_old_gnb_by_our_tunnel_too(self) -> None:
        net = Net()
        seid = net.steered()
        net.send(SMF, net.smf.connect(seid, (0x77, "10.50.0.3"), 1, Ie(IeType.PFCPSMREQ_FLAGS, b"\2")))
        update = need(net.upf.seen[-1].ies, IeType.UPDATE_FAR)
        given = grouped(find(grouped(update), IeType.UPDATE_FORWARDING_PARAMETERS) or b"")
        assert find(given, IeType.PFCPSMREQ_FLAGS) == b"\2"

    def test_release_ends_both(self) -> None:
        net = Net()
        seid = net.steered()
        net.send(SMF, net.smf.release(seid))
        assert not net.upf.rules
        assert not net.edge.rules
        assert len(net.proxy.table) == 0

    def test_data_for_an_idle_ue_is_reported_under_the_smf_s_rule(self) -> None:
        net = Net()
        net.steered()
        report = group(IeType.DOWNLINK_DATA_REPORT, (Ie(IeType.PDR_ID, b"\x70\1"),))
        ies = (Ie(IeType.REPORT_TYPE, b"\1"), report)
        net.send(UPF, encode(Message(MessageType.SESSION_REPORT_REQUEST, 5, 0x87E, ies)))
        told = net.smf.seen[-1]
        assert told.seid == 0x87E
        assert grouped(need(told.ies, IeType.DOWNLINK_DATA_REPORT)) == (Ie(IeType.PDR_ID, b"\0\1"),)

    def test_a_sick_edge_gets_nothing(self) -> None:
        net = Net()
        net.steered()
        net.proxy.steerer.set_healthy("the cache does not answer", healthy=False)
        net.pass_time(1)
        assert net.upf.ids() == [THEIRS]
        assert not net.edge.rules
        assert net.proxy.explain(UE, "203.0.113.10")["why"] == "the cache does not answer"
        net.proxy.steerer.set_healthy("", healthy=True)
        net.pass_time(1)
        assert net.upf.ids() == [THEIRS | OURS]

    def test_a_dead_edge_is_left_and_taken_again(self) -> None:
        net = Net()
        net.steered()
        net.edge.up = False
        net.pass_time(10)
        assert net.upf.ids() == [THEIRS]
        net.edge.up = True
        net.edge.forget()
        net.pass_time(10)
        assert net.upf.ids() == [THEIRS | OURS]
        assert net.edge.ids() == [{1, 2}]

    def test_a_thousand_ues_leave_a_dead_edge(self) -> None:
        net = Net()
        net.pass_time(0.5)
        net.send(SMF, net.smf.associate())
        for number in range(1000):
            net.send(SMF, net.smf.establish(number + 1, f"10.45.{number >> 8}.{number & 255}"))
        assert net.proxy.status()["steered"] == 1000
        net.edge.up = False
        net.pass_time(10)
        assert net.proxy.status()["steered"] == 0
        assert all(ids == THEIRS for ids in net.upf.ids())

    def test_a_restarted_edge_gets_its_sessions_again(self) -> None:
        net = Net()
        net.steered()
        net.edge.forget()
        net.pass_time(10)
        assert net.edge.ids() == [{1, 2}]
        assert net.proxy.status()["steered"] == 1

    def test_many_prefixes_are_shared_out(self) -> None:
        net = Net(rules=[{"id": "cdn", "prefixes": [f"203.0.{host}.0/25" for host in range(20)]}])
        net.steered()
        (book,) = net.upf.rules.values()
        counts = [
            sum(one.type == IeType.SDF_FILTER for one in grouped(find(pdr, IeType.PDI) or b""))
            for pdr in book.pdrs()
            if int.from_bytes(find(pdr, IeType.PDR_ID) or b"", "big") > 0x7001
        ]
        assert counts == [8, 8, 4]


class TestFaults:
    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_rejected_rule_of_ours_costs_the_session_nothing(self, nth: int) -> None:
        net = Net()
        creations: list[int] = []

        def reject(message: Message) -> bool:
            ours = message.seq >= FIRST_OWN and message.find(IeType.CREATE_PDR) is not None
            if ours:
                creations.append(message.seq)
            return ours and len(creations) == nth

        net.upf.reject = reject
        net.pass_time(0.5)
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.establish())
        assert net.upf.ids() == [THEIRS], "the SMF's own rules were made anew"
        assert list(net.proxy.status()["refused"].values()) == [1]
        (book,) = net.upf.rules.values()
        assert RuleBook(next(iter(net.proxy.table)).book).creates() == book.creates()

    def test_rules_that_an_smf_lost_by_a_rejection_are_made_anew(self) -> None:
        net = Net()
        seid = net.steered()
        net.upf.reject = lambda message: message.seq < FIRST_OWN
        net.send(SMF, net.smf.connect(seid, far=77))
        assert _cause(net.smf.seen[-1]) is Cause.MANDATORY_IE_INCORRECT
        assert net.upf.ids() == [THEIRS | OURS]
        assert net.proxy.status()["steered"] == 1

    def test_the_smf_s_rules_come_before_ours(self) -> None:
        net = Net(rules=[{"id": "cdn", "prefixes": [f"203.0.{host}.0/25" for host in range(80)]}])
        seid = net.steered()
        pdr = [one for one in decode(net.smf.establish()).ies if one.type == IeType.CREATE_PDR][3].value
        members = tuple(Ie(IeType.PDR_ID, b"\0\x0a") if one.type == IeType.PDR_ID else one for one in grouped(pdr))
        more = [group(IeType.CREATE_PDR, (Ie(IeType.PDR_ID, bytes((0, n))), *members[1:])) for n in range(10, 14)]
        net.send(SMF, net.smf.request(MessageType.SESSION_MODIFICATION_REQUEST, seid, tuple(more)))
        assert _cause(net.smf.seen[-1]) is Cause.ACCEPTED
        assert net.upf.ids() == [THEIRS | {10, 11, 12, 13}]

    def test_an_smf_that_takes_our_number_gets_it(self) -> None:
        net = Net()
        seid = net.steered()
        far = group(IeType.CREATE_FAR, (Ie(IeType.FAR_ID, b"\0\0\x70\1"), Ie(IeType.APPLY_ACTION, b"\1\0")))
        net.send(SMF, net.smf.request(MessageType.SESSION_MODIFICATION_REQUEST, seid, (far,)))
        assert net.upf.ids() == [THEIRS]
        assert net.upf.ids(IeType.CREATE_FAR) == [{1, 2, 3, 0x7001}]

    def test_answers_out_of_order_count_in_the_order_of_the_requests(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.establish())
        (seid,) = net.upf.rules
        held: list[Outgoing] = []
        for gnb in ((1, "10.0.0.1"), (2, "10.0.0.2")):
            held += net.proxy.receive(net.smf.connect(seid, gnb), SMF, net.now)
        answers = [net.upf.receive(one.data) for one in held]
        for answer in reversed(answers):
            assert answer is not None
            net.send(UPF, answer)
        assert {"end": "gnb", "teid": 2, "address": "10.0.0.2"} in next(iter(net.proxy.table)).fteids()

    def test_an_error_of_ours_is_nobody_else_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net = Net()
        monkeypatch.setattr("core5g.pfcp.proxy.steerer.next_wish", lambda *_, **__: 1 / 0)
        monkeypatch.setattr("core5g.pfcp.proxy.relay.subscriber_of", lambda *_: 1 / 0)
        net.pass_time(0.5)
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.establish())
        net.send(SMF, net.smf.connect(next(iter(net.upf.rules))))
        assert [_cause(one) for one in net.smf.seen[-2:]] == [Cause.ACCEPTED] * 2
        assert net.proxy.counters["failed-open"] >= 1

    @pytest.mark.parametrize("name", ["run", "answer", "tick", "edge_message", "has_room"])
    def test_a_broken_classifier_is_not_in_the_way(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        net = Net()
        seid = net.steered()
        monkeypatch.setattr(net.proxy.steerer, name, lambda *_: 1 / 0)
        net.send(SMF, net.smf.connect(seid, (0x55, "10.50.0.3")))
        net.send(EDGE, net.smf.heartbeat())
        net.pass_time(1)
        net.send(SMF, net.smf.release(seid))
        assert [_cause(one) for one in net.smf.seen[-2:]] == [Cause.ACCEPTED] * 2
        assert net.proxy.counters["failed-open"] >= 1

    def test_a_relay_that_does_not_understand_hands_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        for name in ("ESTABLISHMENT", "MODIFICATION", "DELETION"):
            monkeypatch.setitem(net.proxy.relay._from_smf, MessageType[f"SESSION_{name}_REQUEST"], lambda *_: 1 / 0)
        net.send(SMF, net.smf.establish())
        (seid,) = net.upf.rules
        assert str(net.upf.cp[seid].ipv4) == PROXY.address
        net.send(SMF, net.smf.connect(seid))
        net.send(SMF, net.smf.release(seid))
        assert [_cause(one) for one in net.smf.seen[-3:]] == [Cause.ACCEPTED] * 3
        assert net.proxy.counters["failed-open"] == 3

    def test_a_session_that_the_upf_does_not_know_is_over(self) -> None:
        net = Net()
        net.steered()
        net.upf.rules.clear()
        net.proxy.steerer.set_healthy("gate", healthy=False)
        net.pass_time(1)
        assert net.proxy.status()["sessions"] == 0
        assert not net.edge.rules


class TestMalformed:
    """It is counted and goes on; it is no error of the proxy's."""

    def _counted(self, net: Net, count: int = 1) -> None:
        found = {name: number for name, number in net.proxy.counters.items() if name.startswith("malformed-")}
        assert found == {"malformed-ie-length": count}
        assert net.proxy.counters["failed-open"] == 0
        told = ProxyWatch("pop1").take(section(), net.proxy.status(), 0.0)
        assert FAILED_OPEN not in {one.cause for one in told if isinstance(one, AlarmEvent)}

    @pytest.mark.parametrize(
        "request_",
        [
            lambda net, _: net.smf.heartbeat(),
            lambda net, _: net.smf.associate(),
            lambda net, _: net.smf.establish(0x99, "10.45.0.9"),
            lambda net, seid: net.smf.connect(seid),
            lambda net, seid: net.smf.release(seid),
        ],
        ids=["heartbeat", "association", "establishment", "modification", "deletion"],
    )
    def test_a_request_of_the_smf(self, request_: Callable[[Net, int], bytes]) -> None:
        net = Net()
        sent = malformed(request_(net, net.steered()))
        (one,) = net.proxy.receive(sent, SMF, net.now)
        assert (one.to, len(one.data)) == (UPF, len(sent))
        self._counted(net)
        assert net.proxy.status()["refused"] == {}
        assert net.proxy.status()["steered"] == 1

    @pytest.mark.parametrize(
        "message",
        [
            Message(MessageType.SESSION_REPORT_REQUEST, 5, 0x87E, (Ie(IeType.REPORT_TYPE, b"\1"),)),
            Message(MessageType.HEARTBEAT_REQUEST, 5, None, (ie(RecoveryTimeStamp(4_000_000_000)),)),
        ],
        ids=["report", "heartbeat"],
    )
    def test_a_request_of_the_upf(self, message: Message) -> None:
        net = Net()
        net.steered()
        (one,) = net.proxy.receive(malformed(encode(message)), UPF, net.now)
        assert one.to == SMF
        assert net.proxy.counters["malformed-ie-length"] >= 1
        self._counted(net, net.proxy.counters["malformed-ie-length"])
        assert net.proxy.status()["refused"] == {}

    def test_an_answer_to_a_modification_ends_steering_as_nobody_knows_what_was_done(self) -> None:
        net = Net()
        seid = net.steered()
        (asked,) = net.proxy.receive(net.smf.connect(seid, (0x77, "10.50.0.3")), SMF, net.now)
        answer = net.upf.receive(asked.data)
        assert answer is not None
        sending = net.proxy.receive(malformed(answer), UPF, net.now)
        assert sending[0].to == SMF
        net._deliver(sending)
        self._counted(net)
        assert net.proxy.status()["refused"] == {"a malformed message may have changed its rules at the UPF": 1}
        assert net.upf.ids() == [THEIRS]
        net.send(SMF, net.smf.connect(seid, (0x78, "10.50.0.3")))
        (session,) = net.proxy.table
        assert {"end": "gnb", "teid": 0x78, "address": "10.50.0.3"} in session.fteids(), "later ones count"

    def test_a_modification_that_the_upf_drops_is_no_hindrance_to_the_next(self) -> None:
        net = Net()
        seid = net.steered()
        net.send(SMF, malformed(net.smf.connect(seid, (0x77, "10.50.0.3"))))
        net.send(SMF, net.smf.connect(seid, (0x78, "10.50.0.3")))
        assert _header(_own_far(net)) == b"\1\0\0\0\0\x78\x0a\x32\0\3"
        self._counted(net)

    @pytest.mark.parametrize("inner", [False, True], ids=["message", "grouped IE"])
    @pytest.mark.parametrize("cause", [Cause.ACCEPTED, Cause.MANDATORY_IE_INCORRECT])
    def test_what_the_upf_makes_of_a_malformed_modification(self, cause: Cause, inner: bool) -> None:
        net = Net()
        seid = net.steered()
        sent = malformed(net.smf.connect(seid))
        if inner:
            far = Ie(IeType.UPDATE_FAR, b"\0\x6c\0\x09\1")
            sent = net.smf.request(MessageType.SESSION_MODIFICATION_REQUEST, seid, (far,))
        (asked,) = net.proxy.receive(sent, SMF, net.now)
        assert asked.to == UPF
        if cause is not Cause.ACCEPTED:
            net.upf.rules[seid] = RuleBook()
        seq = int.from_bytes(asked.data[12:15], "big")
        answer = Message(MessageType.SESSION_MODIFICATION_RESPONSE, seq, net.upf.cp[seid].seid, (ie(cause),))
        net.send(UPF, encode(answer))
        assert _cause(net.smf.seen[-1]) is cause
        if cause is Cause.ACCEPTED:
            self._counted(net)
            assert net.upf.ids() == [THEIRS]
            assert len(net.proxy.status()["refused"]) == 1
        else:
            assert net.upf.ids() == [THEIRS | OURS], "all rules are made anew"
            assert net.proxy.status()["steered"] == 1

    def test_an_answer_to_a_request_of_ours_is_asked_for_again(self) -> None:
        net = Net()
        net.pass_time(0.5)
        net.send(SMF, net.smf.associate())
        net.lose = lambda one: one.to == UPF and decode(one.data).seq >= FIRST_OWN
        net.send(SMF, net.smf.establish())
        answer = net.upf.receive(net.lost[0].data)
        assert answer is not None
        assert net.proxy.receive(malformed(answer), UPF, net.now) == []
        self._counted(net)
        net.lose = lambda _: False
        net.pass_time(2)
        assert net.proxy.status()["steered"] == 1


class TestRestarts:
    def _stamp(self, message: Message) -> int:
        return RecoveryTimeStamp.decode(need(message.ies, IeType.RECOVERY_TIME_STAMP))

    def test_heartbeats_go_through_with_the_proxy_s_own_time(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        net.send(SMF, net.smf.heartbeat())
        assert self._stamp(net.upf.seen[-1]) == net.proxy.stamps.to_upf != net.smf.stamp
        assert self._stamp(net.smf.seen[-1]) == net.proxy.stamps.to_smf != net.upf.stamp
        net.upf.up = False
        before = len(net.smf.seen)
        net.send(SMF, net.smf.heartbeat())
        assert len(net.smf.seen) == before, "a dead UPF is not covered up"

    def test_a_upf_s_restart_reaches_the_smf(self) -> None:
        net = Net()
        net.steered()
        before = net.proxy.stamps.to_smf, net.proxy.stamps.to_upf
        net.upf.forget()
        net.send(SMF, net.smf.heartbeat())
        assert net.proxy.stamps.to_smf > before[0]
        assert net.proxy.stamps.to_upf == before[1]
        told = [one for one in net.smf.seen if one.type == MessageType.HEARTBEAT_REQUEST]
        assert self._stamp(told[-1]) == net.proxy.stamps.to_smf
        assert not net.edge.rules
        assert net.proxy.status()["sessions"] == 0
        net.send(SMF, net.smf.establish())
        net.pass_time(1)
        assert net.proxy.status()["steered"] == 1

    def test_an_smf_s_restart_reaches_the_upf(self) -> None:
        net = Net()
        net.steered()
        before = net.proxy.stamps.to_upf
        net.smf.stamp += 10
        net.smf.seq = 0
        net.send(SMF, net.smf.associate())
        assert self._stamp(net.upf.seen[-1]) == net.proxy.stamps.to_upf > before
        assert not net.edge.rules
        assert net.proxy.status()["sessions"] == 0

    def test_an_smf_s_restart_costs_the_other_smf_nothing(self) -> None:
        net = Net()
        net.steered()
        net.send(SMF2, net.smf2.associate())
        net.send(SMF2, net.smf2.establish(ue="10.45.0.3"))
        before = net.proxy.stamps.to_upf
        net.smf.stamp += 10
        net.send(SMF, net.smf.heartbeat())
        assert net.proxy.stamps.to_upf == before
        assert len(net.upf.rules) == len(net.edge.rules) == 1
        assert net.proxy.status()["steered"] == 1

    def test_a_upf_that_sets_up_its_association_anew_restarted(self) -> None:
        net = Net()
        net.steered()
        net.upf.forget()
        ies = (ie(NodeId(IPv4Address(UPF.address))), ie(RecoveryTimeStamp(net.upf.stamp)))
        net.send(UPF, encode(Message(MessageType.ASSOCIATION_SETUP_REQUEST, 9, None, ies)))
        assert net.proxy.status()["sessions"] == 0
        told = next(one for one in net.smf.seen if one.type == MessageType.ASSOCIATION_SETUP_REQUEST)
        assert str(NodeId.decode(need(told.ies, IeType.NODE_ID))) == PROXY.address
        assert self._stamp(told) == net.proxy.stamps.to_smf

    def test_an_overtaken_heartbeat_is_no_restart(self) -> None:
        net = Net()
        net.steered()
        net.smf.stamp -= 10
        net.send(SMF, net.smf.heartbeat())
        assert net.proxy.status()["steered"] == 1


class TestTold:
    def test_observers_hear_of_sessions(self) -> None:
        net = Net()
        net.proxy.observed = True
        seid = net.steered()
        net.send(SMF, net.smf.release(seid))
        events = net.proxy.take_events()
        assert [one["event"] for one in events] == ["session-begin", "session-modify", "session-end"]
        assert all(
            (one["supi"], one["ue_ip"], one["dnn"], one["s_nssai"]) == (SUPI, UE, "internet", "1") for one in events
        )
        assert {"end": "gnb", "teid": GNB[0], "address": GNB[1]} in events[1]["fteids"]
        assert any(one["end"] == "upf" for one in events[0]["fteids"])
        assert {(one["gpsi"], one["pei"]) for one in events} == {("msisdn-0900000000", "imeisv-4370816125816151")}

    def test_explanations(self) -> None:
        net = Net()
        net.steered()
        assert net.proxy.explain(UE, "203.0.113.9") == {
            "exit": "cache",
            "why": "rule cdn sends it to the edge UPF",
            "rule": "cdn",
            "cache": "203.0.113.10",
        }
        assert net.proxy.explain(UE, "198.51.100.1")["exit"] == "default"
        assert net.proxy.explain("10.45.9.9", "203.0.113.9")["exit"] == "unknown-ue"

    @pytest.mark.parametrize(
        ("destination", "exit_", "told"),
        [
            ("203.0.113.128/25", "cache", "rule cdn sends it to the edge UPF"),
            ("203.0.112.0/23", "partly", "of it 203.0.113.0/24 is sent to the edge UPF by rule cdn, the rest"),
            ("203.0.112.0/24", "default", "no rule is about this destination"),
            ("cdn.streamverse.test", "partly", "of what cdn.streamverse.test resolves to 203.0.113.0/24 is sent"),
            ("www.streamverse.test", "default", "no rule is about this destination"),
        ],
    )
    def test_a_name_or_a_wide_prefix_is_steered_in_part(self, destination: str, exit_: str, told: str) -> None:
        net = Net()
        net.steered()
        found = net.proxy.explain(SUPI, destination)
        assert found["exit"] == exit_
        assert told in str(found["why"])

    def test_ipv6_is_told_by_what_the_session_and_the_cache_have(self) -> None:
        rules = [{"id": "cdn", "prefixes": ["203.0.113.0/24", "2001:db8:cd::/48"]}]
        for cache, why in (("203.0.113.10", "the cache has no IPv6 address"), (None, "rule cdn sends it to")):
            net = Net(rules=rules, cache=cache)
            net.steered()
            assert "its session has no IPv6 address" in str(net.proxy.explain(UE, "2001:db8:cd::1")["why"])
            (session,) = net.proxy.table
            session.whose = replace(session.whose, ipv6="2001:db8:45:1::1")
            told = net.proxy.explain(UE, "2001:db8:cd::1")
            assert told["exit"] == ("default" if cache else "cache")
            assert why in str(told["why"])
            filters = " ".join(net.proxy.steerer.wanted(session))
            assert "203.0.113.0/24" in filters
            assert ("2001:db8:cd::/48" in filters) is (cache is None)

    def test_what_an_answer_of_the_recorded_upf_says_is_understood(self) -> None:
        net = Net(edge=None, rules=[])
        net.send(SMF, net.smf.associate())
        (one,) = net.proxy.receive(net.smf.establish(), SMF, net.now)
        answer = recorded(MessageType.SESSION_ESTABLISHMENT_RESPONSE, "UPF->SMF")
        net.send(UPF, encode(answer._replace(seq=decode(one.data).seq)))
        (session,) = net.proxy.table
        assert session.up_seid == 0x3CF
        assert {"end": "upf", "teid": 0x899, "address": "10.50.0.7"} in session.fteids()
