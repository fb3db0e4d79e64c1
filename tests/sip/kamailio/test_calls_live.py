"""A proxy as it is rendered, with a real relay: registrations, calls, number plan, limits, records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.sip.kamailio.daemon import DOMAIN, PASSWORD, Proxy, Relay, running, section, until
from tests.sip.kamailio.phones import Call, Endpoint, Message

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(300)]

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


@pytest.fixture(scope="module")
def proxy(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    limits = {"calls_per_subscriber": 3, "contacts": 2, "registration": [60, 900], "call_seconds": 600}
    with running(tmp_path_factory.mktemp("proxy"), section(limits=limits)) as found:
        yield found
        # A timer's process that finds the database in use says so; the trigger has done its work by then.
        lines = [one for one in found.text().splitlines() if "ERROR" in one]
        assert [one for one in lines if "db_sqlite" not in one and "remove_dialog_from_db" not in one] == []
        # "Bogus event": an answer that was sent twice came after the BYE.
        assert [one for one in found.text().splitlines() if "CRITICAL" in one and "bogus event" not in one] == []


@pytest.fixture
def alice(proxy: Proxy) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.1", 6001) as phone:
        assert phone.register("alice", DOMAIN, PASSWORD).code == 200
        yield phone
    proxy.idle()


@pytest.fixture
def bob(proxy: Proxy) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.1", 6002) as phone:
        assert phone.register("bob", DOMAIN, PASSWORD).code == 200
        yield phone


@pytest.fixture
def north(proxy: Proxy) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.21", 5060) as peer:
        until(lambda: active(proxy, "127.0.0.21"))
        yield peer


@pytest.fixture
def south(proxy: Proxy) -> Iterator[Endpoint]:
    with Endpoint("127.0.0.22", 5060) as peer:
        until(lambda: active(proxy, "127.0.0.22"))
        yield peer


def active(proxy: Proxy, address: str) -> bool:
    text = str(proxy.rpc("dispatcher.list"))
    return bool(re.search(rf"'URI': 'sip:{re.escape(address)}:\d+', 'FLAGS': 'A[XP]'", text))


def call(phone: Endpoint, uri: str, caller: str = ALICE, until: int = 200) -> Call:
    return phone.invite(caller, f"sip:{uri}@{DOMAIN}", PASSWORD, until=until)


def invite(phone: Endpoint) -> Message:
    return phone.wait(lambda one: one.method == "INVITE")


def test_only_who_knows_the_password_is_registered(proxy: Proxy) -> None:
    with Endpoint("127.0.0.1", 6100) as phone:
        assert phone.register("carol", DOMAIN, "wrong").code == 401
        assert phone.register("nobody", DOMAIN, PASSWORD).code == 401
        answer = phone.register("carol", DOMAIN, PASSWORD)
    assert answer.code == 200
    assert "expires=600" in answer.header("Contact")
    assert not answer.header("Server")
    assert "kamailio" not in answer.text.lower()


def test_nobody_registers_for_another(proxy: Proxy) -> None:
    with Endpoint("127.0.0.1", 6101) as phone:
        phone.register("carol", DOMAIN, PASSWORD)
        first = next(one for one in phone.heard if one.code == 401)
        text = phone.message(
            f"REGISTER sip:{DOMAIN}", "x1@x", f"<sip:carol@{DOMAIN}>;tag=1", f"<sip:dave@{DOMAIN}>", (1, "REGISTER")
        )
        assert first
        phone.send(text)
        assert phone.wait(lambda one: one.call_id == "x1@x").code in {401, 403}


def test_a_registration_lasts_no_shorter_and_no_longer_than_it_may(proxy: Proxy) -> None:
    with Endpoint("127.0.0.1", 6102) as phone:
        brief = phone.register("erin", DOMAIN, PASSWORD, expires=30)
        assert (brief.code, brief.header("Min-Expires")) == (423, "60")
        assert "expires=900" in phone.register("erin", DOMAIN, PASSWORD, expires=7200).header("Contact")
        assert phone.register("erin", DOMAIN, PASSWORD, expires=0).code == 200
    with Endpoint("127.0.0.1", 6103) as caller:
        assert call(caller, "erin").code == 480


def test_a_subscriber_has_no_more_contacts_than_it_may(proxy: Proxy) -> None:
    with Endpoint("127.0.0.1", 6104) as phone:
        codes = [
            phone.register("dave", DOMAIN, PASSWORD, contact=f"<sip:dave@127.0.0.1:{port}>").code
            for port in (7001, 7002, 7003)
        ]
        assert codes[:2] == [200, 200]
        assert codes[2] == 503
        for port in (7001, 7002):
            phone.register("dave", DOMAIN, PASSWORD, contact=f"<sip:dave@127.0.0.1:{port}>", expires=0)


def test_a_call_goes_by_a_relay_and_leaves_one_record(
    proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint
) -> None:
    made = call(alice, "bob")
    assert made.code == 200
    assert made.final
    assert "c=IN IP4 127.0.0.2" in made.final.body
    assert "c=IN IP4 127.0.0.2" in invite(bob).body
    assert made.call_id in relay.sessions()
    assert proxy.calls() == 1
    assert made.bye().code == 200
    until(lambda: made.call_id not in relay.sessions())
    record = proxy.record(made.call_id)
    assert (record["result"], record["code"], record["relay"]) == ("answered", 200, "r1")
    assert (record["caller"], record["dialled"]) == (f"sip:{ALICE}", f"sip:{BOB}")
    assert record["emergency"] == 0
    assert record["began"] <= record["ended"]
    assert record["seconds"] <= record["ended"] - record["answered"] + 1


def test_the_called_party_hangs_up(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    made = call(alice, "bob")
    assert bob.hang_up(invite(bob)).code == 200
    assert proxy.record(made.call_id)["result"] == "answered"
    assert made.call_id not in relay.sessions()


def test_hold_by_a_second_invite_stays_at_the_relay(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    made = call(alice, "bob")
    held = made.request("INVITE", ["Contact: <sip:alice@127.0.0.1:6001>"], alice.sdp() + "a=sendonly\r\n")
    made.ack()
    assert held.code == 200
    assert "127.0.0.2" in held.body
    second = [one for one in bob.heard if one.method == "INVITE"][1]
    assert "127.0.0.2" in second.body
    assert "a=sendonly" in second.body
    made.bye()
    assert [one["result"] for one in proxy.records() if one["call_id"] == made.call_id] == ["answered"]


def test_a_transfer_leaves_the_new_call_alone(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    """Blind, RFC 5589 section 6: who is referred calls the third party, then the first call is ended."""
    with Endpoint("127.0.0.1", 6013) as erin:
        assert erin.register("erin", DOMAIN, PASSWORD).code == 200
        made = call(alice, "bob")
        assert made.code == 200
        to = f"<sip:erin@{DOMAIN}>"
        assert made.request("REFER", headers=[f"Refer-To: {to}", f"Referred-By: <sip:{ALICE}>"]).code == 200
        heard = bob.wait(lambda one: one.method == "REFER")
        assert heard.header("Refer-To") == to
        second = bob.invite(BOB, heard.header("Refer-To").strip("<>"), PASSWORD)
        assert second.code == 200
        assert erin.wait(lambda one: one.method == "INVITE")
        assert proxy.calls() == 2
        assert made.bye().code == 200
        until(lambda: [proxy.calls(), relay.sessions()] == [1, [second.call_id]])
        assert second.bye().code == 200
    proxy.idle()
    until(lambda: relay.sessions() == [])


def test_an_offer_that_comes_with_the_answer(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    made = alice.invite(ALICE, f"sip:{BOB}", PASSWORD, sdp=False)
    assert made.code == 200
    assert not invite(bob).body
    made.bye()
    assert proxy.record(made.call_id)["result"] == "answered"


def test_a_cancelled_call_leaves_nothing(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    bob.answers = lambda _: [(180, False)]
    made = call(alice, "bob", until=180)
    made.cancel()
    assert made.code == 487
    record = proxy.record(made.call_id)
    assert (record["result"], record["code"], record["answered"]) == ("cancelled", 487, None)
    until(lambda: made.call_id not in relay.sessions())


def test_a_failed_call_leaves_nothing(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    bob.answers = lambda _: [(180, False), (486, False)]
    made = call(alice, "bob")
    assert made.code == 486
    record = proxy.record(made.call_id)
    assert (record["result"], record["code"]) == ("failed", 486)
    until(lambda: made.call_id not in relay.sessions())


def test_a_phone_that_does_not_answer_at_all(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    bob.deaf = True
    made = call(alice, "bob")
    assert made.code == 408
    assert proxy.record(made.call_id)["code"] == 408
    until(lambda: made.call_id not in relay.sessions())


def test_all_contacts_ring_and_one_answers(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    with Endpoint("127.0.0.1", 6012) as second:
        second.answers = lambda _: [(180, False)]
        bob.answers = lambda _: [(200, True)] if invite(second) else []  # not before the other one rings
        assert second.register("bob", DOMAIN, PASSWORD).code == 200
        made = call(alice, "bob")
        assert made.code == 200
        second.wait(lambda one: one.method == "CANCEL")
        made.bye()
        assert proxy.record(made.call_id)["result"] == "answered"
        second.register("bob", DOMAIN, PASSWORD, expires=0)
    until(lambda: made.call_id not in relay.sessions())


def test_without_password_no_call_and_no_record(proxy: Proxy, alice: Endpoint, bob: Endpoint) -> None:
    made = alice.invite(ALICE, f"sip:{BOB}")
    assert made.code == 407
    assert not [one for one in proxy.records() if one["call_id"] == made.call_id]
    assert not [one for one in bob.heard if one.method == "INVITE"]


def test_no_open_relay(proxy: Proxy, alice: Endpoint, bob: Endpoint) -> None:
    abroad = alice.invite(ALICE, "sip:bob@elsewhere.example", PASSWORD)
    assert abroad.code == 403
    text = alice.message(
        "BYE sip:victim@127.0.0.1:6002",
        "nocall@x",
        "<sip:a@b>;tag=1",
        "<sip:c@d>;tag=2",
        (2, "BYE"),
        ["Route: <sip:127.0.0.1;lr>"],
    )
    alice.send(text)
    assert alice.wait(lambda one: one.call_id == "nocall@x").code == 481
    assert not [one for one in bob.heard if one.method == "BYE"]


def test_a_quote_in_a_name_is_text(proxy: Proxy, alice: Endpoint) -> None:
    made = call(alice, "o'hara')--")
    assert made.code == 404
    assert "o'hara')--" in proxy.record(made.call_id)["dialled"]
    assert proxy.records()


def test_numbers_lead_to_subscribers_and_services(proxy: Proxy, alice: Endpoint, bob: Endpoint) -> None:
    made = call(bob, "+493055501", BOB)
    assert made.code == 200
    invite(alice)
    made.bye()
    with Endpoint("127.0.0.11", 5080) as server:
        until(lambda: active(proxy, "127.0.0.11"))
        made = call(alice, "9001")
        assert made.code == 200
        assert invite(server).uri.startswith("sip:9001@")
        made.bye()
    assert call(alice, "77777").code == 404
    proxy.idle()


def test_the_longest_prefix_decides_and_digits_are_changed(
    proxy: Proxy, alice: Endpoint, north: Endpoint, south: Endpoint
) -> None:
    made = call(alice, "0033123")
    assert made.code == 200
    assert invite(north).uri.startswith("sip:+33123@127.0.0.21")
    made.bye()
    made = call(alice, "004930123")
    assert invite(south).uri.startswith("sip:+4930123@127.0.0.22")
    made.bye()
    assert proxy.record(made.call_id)["outbound"] == "south"


def test_the_number_plan_changes_while_it_runs(proxy: Proxy, alice: Endpoint, north: Endpoint) -> None:
    before = proxy.section.model_dump(mode="json")["plan"]
    assert call(alice, "7712").code == 404
    proxy.change(plan=[*before, {"prefix": "77", "trunks": ["north"], "strip": 0, "prepend": "+88"}])
    made = call(alice, "7712")
    assert invite(north).uri.startswith("sip:+887712@")
    made.bye()
    proxy.change(plan=before)
    assert call(alice, "7712").code == 404


def test_another_trunk_when_one_fails_or_is_silent(
    proxy: Proxy, relay: Relay, alice: Endpoint, north: Endpoint, south: Endpoint
) -> None:
    north.answers = lambda _: [(503, False)]
    made = call(alice, "0033123")
    assert made.code == 200
    assert invite(south).uri.startswith("sip:+33123@127.0.0.22")
    made.bye()
    assert proxy.record(made.call_id)["outbound"] == "south"
    north.deaf = True
    made = call(alice, "0033124")
    assert made.code == 200
    made.bye()
    assert proxy.record(made.call_id)["outbound"] == "south"
    until(lambda: not active(proxy, "127.0.0.21"))
    until(lambda: not relay.sessions())


def test_busy_is_an_answer_and_no_reason_for_another_trunk(
    proxy: Proxy, alice: Endpoint, north: Endpoint, south: Endpoint
) -> None:
    north.answers = lambda _: [(486, False)]
    assert call(alice, "0033123").code == 486
    assert not [one for one in south.heard if one.method == "INVITE"]


def test_a_trunk_calls_subscribers_and_what_it_is_permitted(
    proxy: Proxy, alice: Endpoint, bob: Endpoint, north: Endpoint, south: Endpoint
) -> None:
    made = north.invite("+331@there.example", "sip:+493055501@127.0.0.1")
    assert made.code == 200
    made.bye()
    record = proxy.record(made.call_id)
    assert (record["inbound"], record["result"]) == ("north", "answered")
    for number in ("9001", "0033555"):
        refused = north.invite("+331@there.example", f"sip:{number}@127.0.0.1")
        assert refused.code == 403
        assert proxy.record(refused.call_id)["result"] == "refused"
    assert south.invite("+331@there.example", f"sip:{BOB}").code == 403
    made = south.invite("+331@there.example", "sip:+493055501@127.0.0.1")
    assert made.code == 200
    made.bye()


def test_a_trunk_may_call_what_begins_with_any_of_its_prefixes(
    proxy: Proxy, alice: Endpoint, north: Endpoint, south: Endpoint
) -> None:
    before = proxy.section.model_dump(mode="json")["trunks"]
    proxy.change(trunks=[before[0], before[1] | {"permitted": ["+49", "0033", "#7"]}])
    try:
        for number, code in (("+493055501", 200), ("0033123", 200), ("0044123", 403), ("9001", 403)):
            made = south.invite("+331@there.example", f"sip:{number}@127.0.0.1")
            assert made.code == code, number
            if code == 200:
                made.bye()
    finally:
        proxy.change(trunks=before)


def test_a_trunk_sees_nothing_of_what_is_behind(proxy: Proxy, alice: Endpoint, north: Endpoint) -> None:
    made = call(alice, "0033123")
    made.request("INVITE", ["Contact: <sip:alice@127.0.0.1:6001>"], alice.sdp())
    made.ack()
    made.bye()
    heard = [one.text for one in north.heard if one.method not in {"", "OPTIONS"} or one.code]
    assert len(heard) >= 4
    for text in heard:
        assert "6001" not in text, text  # the phone's port: its address is the proxy's here
        assert DOMAIN not in text, text
        assert made.call_id not in text, text
        assert "alice" not in text, text
    assert "+493055501@" in invite(north).header("From")


def test_a_trunk_hangs_up(proxy: Proxy, alice: Endpoint, north: Endpoint) -> None:
    made = call(alice, "0033123")
    assert north.hang_up(invite(north)).code == 200
    alice.wait(lambda one: one.method == "BYE" and one.call_id == made.call_id)
    assert proxy.record(made.call_id)["result"] == "answered"


def test_limits_of_a_subscriber_do_not_leak(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    with Endpoint("127.0.0.11", 5080):
        until(lambda: active(proxy, "127.0.0.11"))
        for _ in range(3):
            made = [call(alice, "9001") for _ in range(4)]
            assert [one.code for one in made] == [200, 200, 200, 403]
            assert proxy.record(made[3].call_id)["result"] == "refused"
            for one in made[:3]:
                one.bye()
            proxy.idle()
            assert proxy.profile("sub", ALICE) == 0
        bob.answers = lambda _: [(486, False)]
        for _ in range(5):
            assert call(alice, "bob").code == 486
        proxy.idle()
        assert proxy.profile("sub", ALICE) == proxy.profile("sub", BOB) == 0
    until(lambda: not relay.sessions())


def test_limits_of_a_trunk_and_its_next(proxy: Proxy, alice: Endpoint, north: Endpoint, south: Endpoint) -> None:
    before = proxy.section.model_dump(mode="json")["trunks"]
    proxy.change(trunks=[before[0] | {"calls": 1}, before[1]])
    until(lambda: proxy.rpc("dispatcher.reload") is not None)
    until(lambda: active(proxy, "127.0.0.21") and active(proxy, "127.0.0.22"))
    one, other = call(alice, "0033123"), call(alice, "0033123")
    assert (one.code, other.code) == (200, 200)
    one.bye()
    other.bye()
    assert [proxy.record(made.call_id)["outbound"] for made in (one, other)] == ["north", "south"]
    north.answers = lambda _: [(503, False)]
    made = call(alice, "0033123")
    assert made.code == 200
    assert proxy.profile("trunk", "north") == 0
    made.bye()
    inbound = north.invite("+331@there.example", "sip:+493055501@127.0.0.1")
    assert inbound.code == 200
    assert north.invite("+331@there.example", "sip:+493055501@127.0.0.1").code == 403
    inbound.bye()
    proxy.idle()
    assert proxy.profile("trunk", "north") == 0
    proxy.change(trunks=before)


def test_barred_and_drained(proxy: Proxy, alice: Endpoint, bob: Endpoint) -> None:
    before = proxy.section.model_dump(mode="json")["subscribers"]
    proxy.change(subscribers=[*before, {"user": "bob", "domain": DOMAIN, "barred": True}])
    assert call(bob, "alice", BOB).code == 403
    proxy.rpc("htable.seti", "ctl", "drain", 1)
    refused = call(alice, "bob")
    assert refused.code == 503
    assert refused.final
    assert refused.final.header("Retry-After")
    assert alice.register("alice", DOMAIN, PASSWORD).code == 200
    proxy.rpc("htable.seti", "ctl", "drain", 0)
    proxy.rpc("htable.delete", "own", BOB)
    proxy.change(subscribers=before)


def test_the_rate_of_new_calls(proxy: Proxy, alice: Endpoint) -> None:
    proxy.rpc("htable.seti", "ctl", "rate", 2)
    codes = [call(alice, "77777").code for _ in range(8)]
    proxy.rpc("htable.seti", "ctl", "rate", 500)
    assert 503 in codes
    assert 404 in codes


def test_a_call_that_nobody_ends_is_ended(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint) -> None:
    with over_before_its_bye(proxy, alice, bob):
        proxy.rpc("htable.seti", "ctl", "seconds", 2)
        made = call(alice, "bob")
        proxy.rpc("htable.seti", "ctl", "seconds", 600)
        alice.wait(lambda one: one.method == "BYE" and one.call_id == made.call_id)
        bob.wait(lambda one: one.method == "BYE")
    record = proxy.record(made.call_id)
    assert record["result"] == "answered"
    assert 1 <= record["seconds"] <= 30
    until(lambda: made.call_id not in relay.sessions())


@pytest.mark.parametrize("method", ["dlg.end_dlg", "dlg.terminate_dlg"])
def test_a_call_that_an_operator_ends(proxy: Proxy, relay: Relay, alice: Endpoint, bob: Endpoint, method: str) -> None:
    made = call(alice, "bob")
    found = next(one for one in proxy.rpc("dlg.list") if one["call-id"] == made.call_id)
    key = (made.call_id, found["caller"]["tag"], found["callee"]["tag"])
    with over_before_its_bye(proxy, alice, bob):
        proxy.rpc(method, *(key if method == "dlg.terminate_dlg" else (found["h_entry"], found["h_id"])))
        alice.wait(lambda one: one.method == "BYE" and one.call_id == made.call_id)
        bob.wait(lambda one: one.method == "BYE")
    assert proxy.record(made.call_id)["result"] == "answered"
    until(lambda: made.call_id not in relay.sessions())


def test_both_are_told_of_an_end_though_the_first_answers_at_once(proxy: Proxy, alice: Endpoint, bob: Endpoint) -> None:
    made = call(alice, "bob")
    found = next(one for one in proxy.rpc("dlg.list") if one["call-id"] == made.call_id)
    with only_receivers_run(proxy):
        proxy.rpc("dlg.end_dlg", found["h_entry"], found["h_id"])
        alice.wait(lambda one: one.method == "BYE" and one.call_id == made.call_id)
        bob.wait(lambda one: one.method == "BYE")


@contextmanager
def only_receivers_run(proxy: Proxy) -> Iterator[None]:
    """One processor for all, which whoever sends by itself gets when phones and receivers have nothing to do."""
    ours = [int(one.name) for one in Path("/proc/self/task").iterdir()]
    listed = proxy.rpc("core.psx")
    theirs = {one["PID"]: "receiver" in one["DSC"] for one in listed}
    before = os.sched_getaffinity(0)
    for pid in (*ours, *theirs):
        os.sched_setaffinity(pid, {min(before)})
    for pid, receives in theirs.items():
        os.sched_setscheduler(pid, os.SCHED_OTHER if receives else os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        for pid in (*ours, *theirs):
            os.sched_setaffinity(pid, before)
        for pid in theirs:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def over_before_its_bye(proxy: Proxy, *phones: Endpoint) -> Iterator[None]:
    """Whoever answers the BYE of the proxy at once must find the call's record closed: later it would stay open."""
    found: list[str] = []

    def look(request: Message) -> None:
        if request.method == "BYE":
            found.append(proxy.records()[-1]["result"])

    for phone in phones:
        phone.before = look
    yield
    assert found == ["answered"] * len(phones)
