"""The proxy's parts by themselves: documents, the book of rules, exchanges, the store, telemetry, plans."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core5g.pfcp.proxy.control import Control
from core5g.pfcp.proxy.driver import RUN, STOP, ProxyDriver
from core5g.pfcp.proxy.engine import Proxy
from core5g.pfcp.proxy.exchanges import FIRST_OWN, HOLD_S, Exchanges, spliced
from core5g.pfcp.proxy.rulebook import RuleBook, begun
from core5g.pfcp.proxy.sessions import SessionTable, packed, unpacked
from core5g.pfcp.proxy.stamps import Stamps
from core5g.pfcp.proxy.store import Store, remembered, traffic_of
from core5g.pfcp.proxy.telemetry import ProxyWatch
from core5g.pfcp.proxy.units import section_of, unit_spec
from core5g.pfcp.transactions import Peer
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, decode, encode, find, group, grouped
from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext, State
from nf.contracts.units import Units
from nf.errors import IntegrityError
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from tests.core5g.pfcp.proxy.peers import PROXY, SMF, UE, UPF, Net, recorded, section


class TestDocuments:
    @pytest.mark.parametrize(
        "changes",
        [
            {"smfs": [PROXY.address]},
            {"smfs": []},
            {"edge": None},
            {"edge": {"id": "edge1", "n4": UPF.address, "n3": UPF.address}},
            {"rules": [{"id": "a", "prefixes": [f"198.51.{n}.0/24" for n in range(89)]}]},
            {"rules": [{"id": "a", "prefixes": [f"198.51.{n}.0/24" for n in range(45)], "ports": [80, 443]}]},
            {"rules": [{"id": "a", "prefixes": ["198.51.100.0/24"]}] * 2},
            {"rules": [{"id": "a", "prefixes": ["198.51.100.1/24"]}]},
        ],
    )
    def test_refused(self, changes: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            section(**changes)

    def test_read_back(self) -> None:
        one = section(provides=("a",))
        assert type(one).model_validate(one.to_json()) == one


class TestRuleBook:
    def test_it_follows_a_recorded_session(self) -> None:
        establish, modify = MessageType.SESSION_ESTABLISHMENT_REQUEST, MessageType.SESSION_MODIFICATION_REQUEST
        begin = recorded(establish)
        book = RuleBook(begun(begin.ies, recorded(MessageType(establish + 1), "UPF->SMF").ies))
        kinds = {IeType.CREATE_PDR, IeType.CREATE_FAR, IeType.CREATE_URR, IeType.CREATE_QER, IeType.CREATE_BAR}
        sent = [one for one in begin.ies if one.type in kinds]
        assert [(one.type, len(grouped(one.value))) for one in book.creates()] == [
            (one.type, len(grouped(one.value)))
            for one in sorted(sent, key=lambda one: [1, 3, 6, 7, 85].index(one.type))
        ]
        book.apply(recorded(modify).ies)
        assert RuleBook(book.octets()).octets() == book.octets()
        back = book.far(bytes((0, 0, 0, 1)))
        assert back is not None
        given_ = grouped(find(back, IeType.FORWARDING_PARAMETERS) or b"")
        assert find(given_, IeType.OUTER_HEADER_CREATION) == bytes.fromhex("0100000090010a320002")
        fteids = [find(grouped(find(pdr, IeType.PDI) or b""), IeType.F_TEID) for pdr in book.pdrs()]
        picked = [bytes.fromhex(f"01{teid:08x}0a320007") for teid in (0x899, 0xDD99)]
        assert fteids == [None, picked[0], picked[1], picked[0]]

    def test_a_number_is_used_anew_in_one_message(self) -> None:
        book = RuleBook(begun(recorded(MessageType.SESSION_ESTABLISHMENT_REQUEST).ies, ()))
        one = Ie(IeType.PDR_ID, b"\0\4")
        book.apply((group(IeType.CREATE_PDR, (one,)), group(IeType.REMOVE_PDR, (one,))))
        assert 4 in book.ids(IeType.CREATE_PDR)
        book.apply((group(IeType.REMOVE_PDR, (one,)),))
        assert 4 not in book.ids(IeType.CREATE_PDR)

    def test_an_f_teid_outlives_an_update_that_does_not_name_it(self) -> None:
        answer = recorded(MessageType.SESSION_ESTABLISHMENT_RESPONSE, "UPF->SMF")
        book = RuleBook(begun(recorded(MessageType.SESSION_ESTABLISHMENT_REQUEST).ies, answer.ies))
        pdi = group(IeType.PDI, (Ie(IeType.SOURCE_INTERFACE, b"\0"),))
        book.apply((group(IeType.UPDATE_PDR, (Ie(IeType.PDR_ID, b"\0\2"), pdi)),))
        pdr = next(one for one in book.pdrs() if find(one, IeType.PDR_ID) == b"\0\2")
        inner = grouped(find(pdr, IeType.PDI) or b"")
        assert find(inner, IeType.F_TEID) == bytes.fromhex("01000008990a320007")


IES = st.lists(st.builds(Ie, st.integers(1, 0x7FFF), st.binary(max_size=20), st.none()), max_size=6).map(tuple)


class TestExchanges:
    @given(IES, st.integers(0, 0xFFFFFF), st.binary(max_size=12))
    def test_a_splice_is_what_decoding_and_encoding_would_do(self, ies: tuple[Ie, ...], seq: int, value: bytes) -> None:
        message = Message(MessageType.SESSION_MODIFICATION_REQUEST, seq, 7, ies)
        wanted = tuple(Ie(one.type, value) if one.type == IeType.NODE_ID else one for one in ies)
        assert decode(spliced(encode(message), 16, {IeType.NODE_ID: value})) == message._replace(ies=wanted)

    @given(st.lists(st.tuples(st.integers(4, 6), st.integers(0, 0xFFFFFF)), max_size=40))
    def test_no_two_exchanges_of_a_upf_share_a_number(self, asked: list[tuple[int, int]]) -> None:
        exchanges = Exchanges()
        opened = [
            exchanges.open(Peer(f"127.50.0.{host}", 8805), seq, UPF, bytes((number,)), 0.0)
            for number, (host, seq) in enumerate(asked)
        ]
        numbers = [one.own_seq for one in opened]
        assert len(set(numbers)) == len(numbers)
        assert all(number < FIRST_OWN for number in numbers)
        exchanges.expire(HOLD_S)
        assert len(exchanges) == 0

    def test_numbers_stay_as_they_are_where_they_can(self) -> None:
        exchanges = Exchanges()
        assert exchanges.open(SMF, 17, UPF, b"", 0.0).own_seq == 17


class TestStore:
    def _kept(self, path: Path, net: Net, **changes: object) -> Proxy:
        store = Store(path)
        kept = store.load(section(**changes))
        store.close()
        return Proxy(
            section(**changes), lambda: net.wall, stamps=kept.stamps, sessions=kept.sessions, influences=kept.influences
        )

    def _save(self, path: Path, net: Net) -> None:
        store = Store(path)
        proxy = net.proxy
        store.save(proxy.section, proxy.stamps, proxy.take_changed(), proxy.steerer.influences)
        store.close()

    def test_a_new_life_goes_on_where_the_old_one_was(self, tmp_path: Path) -> None:
        net = Net()
        seid = net.steered()
        net.proxy.influence(traffic_of("game", {"prefixes": ["198.51.100.0/24"], "ues": [UE]}), "game")
        net.pass_time(1)
        self._save(tmp_path / "x", net)
        again = Net(self._kept(tmp_path / "x", net))
        again.upf, again.edge, again.smf = net.upf, net.edge, net.smf
        rules, seen = net.upf.ids(), len(net.upf.seen)
        again.pass_time(2)
        assert again.proxy.status()["steered"] == 1
        assert net.upf.ids() == rules
        assert len(net.upf.seen) == seen
        assert again.proxy.stamps == net.proxy.stamps
        assert again.proxy.explain(UE, "198.51.100.1")["rule"] == "game"
        again.send(SMF, net.smf.release(seid))
        assert not net.upf.rules
        assert not net.edge.rules

    def test_a_new_life_with_other_rules_steers_anew(self, tmp_path: Path) -> None:
        net = Net()
        net.steered()
        self._save(tmp_path / "x", net)
        rules = [{"id": "cdn", "prefixes": ["198.51.100.0/24"]}]
        again = Net(self._kept(tmp_path / "x", net, rules=rules))
        again.upf, again.edge, again.smf = net.upf, net.edge, net.smf
        again.pass_time(2)
        (session,) = again.proxy.table
        assert session.own.filters == ("permit out ip from 198.51.100.0/24 to assigned",)
        assert len(net.edge.rules) == 1

    def test_a_new_life_without_an_edge_takes_its_rules_away(self, tmp_path: Path) -> None:
        net = Net()
        net.steered()
        self._save(tmp_path / "x", net)
        again = Net(self._kept(tmp_path / "x", net, edge=None, rules=[]))
        again.upf, again.smf = net.upf, net.smf
        again.pass_time(2)
        assert net.upf.ids() == [{1, 2, 3, 4}]

    def test_another_upf_is_a_restart_for_the_smfs(self, tmp_path: Path) -> None:
        net = Net()
        net.steered()
        self._save(tmp_path / "x", net)
        again = self._kept(tmp_path / "x", net, upf={"id": "upf2", "address": "127.50.0.77"})
        assert again.stamps.to_smf > net.proxy.stamps.to_smf
        assert len(again.table) == 0

    def test_a_damaged_file_is_put_aside(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"no database" * 1000)
        store = Store(tmp_path / "x")
        assert store.load(section()).damaged == 1
        store.close()
        assert (tmp_path / "x.damaged").exists()

    def test_a_damaged_session_costs_no_other(self, tmp_path: Path) -> None:
        net = Net()
        net.steered()
        self._save(tmp_path / "x", net)
        with sqlite3.connect(tmp_path / "x") as database:
            database.execute("INSERT INTO sessions VALUES ('5', '{}', x'00'), ('five', '{}', x'00')")
        database.close()
        store = Store(tmp_path / "x")
        kept = store.load(section())
        store.close()
        assert (len(kept.sessions), kept.damaged) == (1, 2)

    @pytest.mark.parametrize("fault", ["a directory", "no folder", "another table"])
    def test_without_a_file_that_can_be_used_it_goes_on_in_memory(self, tmp_path: Path, fault: str) -> None:
        path = tmp_path / "x"
        if fault == "a directory":
            path.mkdir()
        elif fault == "no folder":
            path.write_text("")
            path = path / "y"
        else:
            net = Net()
            net.steered()
            self._save(path, net)
            with sqlite3.connect(path) as database:
                database.executescript("DROP TABLE meta; CREATE TABLE meta (name TEXT)")
            database.close()
        store, kept, why = remembered(path, section())
        assert (kept.stamps, kept.sessions, kept.influences) == (None, [], [])
        assert str(path) in why
        net = Net()
        net.steered()
        store.save(net.proxy.section, net.proxy.stamps, net.proxy.take_changed(), {})
        store.close()

    def test_a_session_is_read_back_as_it_was(self) -> None:
        net = Net()
        net.steered()
        (session,) = net.proxy.table
        text, book = packed(session)
        again = unpacked(session.key, text, book)
        assert packed(again) == (text, book)
        assert (again.own, again.whose) == (session.own, session.whose)
        with pytest.raises(IntegrityError):
            unpacked(1, "[]", book)

    def test_time_stamps_are_read_back(self) -> None:
        stamps = Stamps.begun(1_790_000_000.0)
        stamps.take("10.0.0.1", 5)
        assert Stamps.from_json(stamps.to_json()) == stamps
        with pytest.raises(IntegrityError):
            Stamps.from_json({"to_upf": "x"})


class TestControl:
    def _ask(self, net: Net, **command: object) -> dict[str, Any]:
        return Control(net.proxy).answer(json.dumps(command).encode())

    def test_what_is_asked_is_answered(self) -> None:
        net = Net()
        net.steered()
        assert Control(net.proxy).answer(b"\n")["steered"] == 1
        assert self._ask(net, command="sessions")["sessions"][0]["supi"] == "imsi-999700000000001"
        assert self._ask(net, command="sessions", ue="10.9.9.9")["sessions"] == []
        assert self._ask(net, command="peers")["upf"] is True
        assert self._ask(net, command="rules")["rules"]["cdn"]["prefixes"] == ["203.0.113.0/24"]
        assert self._ask(net, command="edge", healthy=False, why="test") == {"open": False}

    @pytest.mark.parametrize("line", [b"{}", b"[1]", b"7", b'{"command": "x"}', b"\xff", b'{"command": "edge"}'])
    def test_what_cannot_be_followed_is_answered_too(self, line: bytes) -> None:
        assert "error" in Control(Net().proxy).answer(line)

    def test_an_influence_of_some_ues_by_prefix(self) -> None:
        net = Net(rules=[{"id": "cdn", "prefixes": ["203.0.113.0/24"], "ports": [443]}])
        net.steered()
        for ues, steered in ((["10.45.9.0/24"], "default"), ([f"{UE}/32"], "cache"), ([], "cache")):
            order = {"id": "game", "action": "add", "prefixes": ["198.51.100.0/24"], "ues": ues, "ports": []}
            assert self._ask(net, command="influence", **order) == {"state": "active"}
            net.pass_time(1)
            assert net.proxy.explain(UE, "198.51.100.1")["exit"] == steered
        (session,) = net.proxy.table
        assert "permit out 6 from 198.51.100.0/24 443 to assigned" in session.own.filters
        bad = {"id": "game", "action": "add", "prefixes": ["198.51.100.0/24"], "ues": ["nobody"]}
        assert "error" in self._ask(net, command="influence", **bad)

    def test_an_influence_that_fits_no_session_is_refused(self) -> None:
        net = Net()
        net.steered()
        many = [f"198.51.{number}.0/25" for number in range(88)]
        told = self._ask(net, command="influence", id="game", action="add", prefixes=many)
        assert "89 filters" in told["error"]
        net.pass_time(1)
        assert net.proxy.status()["steered"] == 1
        assert self._ask(net, command="influence", id="game", action="add", prefixes=many[1:]) == {"state": "active"}
        net.pass_time(1)
        assert net.proxy.status()["steered"] == 1


class TestTelemetry:
    def _alarms(self, watch: ProxyWatch, answer: Any, at: float) -> dict[str, Severity]:
        found = watch.take(section(), answer, at)
        return {one.cause: one.severity for one in found if isinstance(one, AlarmEvent)}

    def test_alarms_rise_and_fall(self) -> None:
        watch, net = ProxyWatch("pop1"), Net()
        net.steered()
        assert self._alarms(watch, net.proxy.status(), 0.0) == {}
        net.send(Peer("127.50.0.66", 8805), net.smf.associate())
        assert self._alarms(watch, net.proxy.status(), 1.0) == {"pfcp-peer-refused": Severity.MAJOR}
        assert self._alarms(watch, net.proxy.status(), 2.0) == {}
        assert self._alarms(watch, net.proxy.status(), 90.0) == {"pfcp-peer-refused": Severity.CLEARED}
        net.proxy.steerer.set_healthy("sick", healthy=False)
        assert self._alarms(watch, net.proxy.status(), 91.0) == {"classifier-closed": Severity.MAJOR}
        assert self._alarms(watch, None, 92.0) == {"pfcp-proxy-down": Severity.MAJOR}
        gone = [one for one in watch.take(None, None, 93.0) if isinstance(one, AlarmEvent)]
        assert {one.severity for one in gone} == {Severity.CLEARED}

    def test_what_is_not_kept_is_an_alarm_until_it_is(self) -> None:
        watch, net = ProxyWatch("pop1"), Net()
        net.steered()
        net.proxy.counters["store-errors"] += 1
        net.proxy.unkept = "sessions.sqlite: disk I/O error"
        found = [one for one in watch.take(section(), net.proxy.status(), 0.0) if isinstance(one, AlarmEvent)]
        assert [(one.cause, one.severity) for one in found] == [("pfcp-proxy-store", Severity.MAJOR)]
        assert "disk I/O error" in found[0].text
        assert self._alarms(watch, net.proxy.status(), 600.0) == {}, "it stands"
        net.proxy.unkept = ""
        assert self._alarms(watch, net.proxy.status(), 900.0) == {"pfcp-proxy-store": Severity.CLEARED}

    def test_samples_name_no_subscriber(self) -> None:
        net = Net()
        net.steered()
        rules = [{"id": "cdn", "prefixes": ["203.0.113.0/24"], "channel": "ch1", "path": "edge"}]
        samples = [
            one
            for one in ProxyWatch("pop1").take(section(rules=rules), net.proxy.status(), 0.0)
            if isinstance(one, Sample)
        ]
        assert [one.kind for one in samples] == ["pfcp.proxy", "path.hop"]
        assert samples[1].values == {"sessions": 1.0, "steered": 1.0}
        assert samples[1].labels == {"channel": "ch1", "path": "edge", "point": "classifier"}


class TestPlan:
    def _driver(self, tmp_path: Path) -> ProxyDriver:
        return ProxyDriver(
            DriverContext("pop1", tmp_path / "run", tmp_path / "state", create_autospec(Units), VirtualClock())
        )

    def test_plans(self, tmp_path: Path) -> None:
        driver, wanted = self._driver(tmp_path), section(requires=("a",), provides=("b",))
        (step,) = driver.plan(State(None), wanted)
        assert (step.kind, step.requires, step.provides, step.disruption) == (RUN, {"a"}, {"b"}, "")
        assert driver.plan(State(wanted.to_json()), wanted) == ()
        (step,) = driver.plan(State(section().to_json()), wanted)
        assert "no session ends" in step.disruption
        (step,) = driver.plan(State(wanted.to_json()), None)
        assert step.kind == STOP
        assert driver.plan(State(None), None) == ()

    def test_a_unit_is_read_back(self, tmp_path: Path) -> None:
        one = section()
        spec = unit_spec(one, tmp_path, tmp_path)
        assert section_of(spec) == one
        assert section_of(None) is None


def test_a_session_is_found_by_any_address_of_its_ipv6_prefix() -> None:
    net = Net()
    net.steered()
    (session,) = net.proxy.table
    session.whose = replace(session.whose, ipv6="2001:db8:45:1::1")
    table = SessionTable([session])
    assert table.by_name("2001:db8:45:1::1") is table.by_name("2001:db8:45:1::77") is table.by_name(UE) is session
    assert table.by_name("2001:db8:45:2::1") is table.by_name("imsi-1") is table.by_name("::x") is None
    table.end(session)
    assert table.by_name("2001:db8:45:1::77") is None
