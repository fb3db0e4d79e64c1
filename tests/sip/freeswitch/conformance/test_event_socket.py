"""What our driver takes for granted of FreeSWITCH's event socket, asked of whatever FreeSWITCH is there.

Without FS_ESL=host:port[:password] it is the lab's model: UNVERIFIED ON REAL FREESWITCH. What would disturb somebody's
calls is asked of our own alone.
"""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest

from nf.errors import IdentityError
from sip.freeswitch.client import EslClient, Subscription
from sip.freeswitch.codec import Disconnect, Event
from sip.freeswitch.connection import EslConnection
from sip.freeswitch.errors import ConnectionLost
from sip.freeswitch.live import channels_of, read_live, status_of, total_of
from tests.sip.freeswitch.conformance.clients import Client
from tests.sip.freeswitch.conformance.conftest import Target
from tests.sip.freeswitch.daemons import LIMIT_S

pytestmark = pytest.mark.daemon

TRANSCRIPT = [
    ("status", r"UP \d+ years?, .*\nFreeSWITCH \(Version .* is (not )?ready\n\d+ session\(s\) since startup"),
    ("status", r"\d+ session\(s\) - peak \d+.*\n\d+ session\(s\) per Sec out of max \d+.*\n\d+ session\(s\) max"),
    ("sofia status", r"Name\s+Type\s+Data\s+State\n=+\n"),
    ("show channels count", r"\n\d+ total\.\n"),
    ("show calls count", r"\n\d+ total\.\n"),
    ("fsctl pause_check inbound", r"\A(true|false)\s*\Z"),
    ("fsctl shutdown_check", r"\A(true|false)\s*\Z"),
    ("global_getvar nf_nothing_of_this_name", r"\A(-ERR no reply)?\s*\Z"),
    ("eval one two", r"\Aone two\s*\Z"),
    ("create_uuid", r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\s*\Z"),
    ("nf_no_such_command x", r"\A-ERR nf_no_such_command Command not found!"),
    ("uuid_kill 00000000-0000-0000-0000-000000000000", r"\A-ERR No such channel!"),
    ("uuid_getvar 00000000-0000-0000-0000-000000000000 x", r"\A-ERR No such channel!"),
    ("conference nf-no-such-room list", r"not found"),
    ("reloadxml", r"\A\+OK \[Success\]"),
    ("reloadacl", r"\A\+OK acl reloaded"),
]


@pytest.mark.parametrize(("command", "answer"), TRANSCRIPT, ids=[f"{n}-{c[0]}" for n, c in enumerate(TRANSCRIPT)])
async def test_what_a_command_prints(client: Client, command: str, answer: str) -> None:
    found = await client.api(command)
    assert re.search(answer, found) is not None, found


async def test_channels_as_json(client: Client) -> None:
    found = json.loads(await client.api("show channels as json"))
    assert found["row_count"] == len(found.get("rows", []))
    assert ("rows" in found) == (found["row_count"] > 0)


async def test_answers_come_in_order(client: Client) -> None:
    texts = [f"number-{number}" for number in range(20)]
    found = await client.at_once([f"eval {text}" for text in texts])
    assert [one.strip() for one in found] == texts


async def test_a_job_has_the_uuid_that_it_was_given(client: Client) -> None:
    assert (await client.job("eval three")).strip() == "three"
    assert "Command not found" in await client.job("nf_no_such_command")


async def test_an_event_comes_as_it_was_sent_in_every_format(client: Client) -> None:
    for form in client.forms:
        subclass = f"nf::{uuid4()}"
        await client.hear(form, subclass, ())
        said = {"Nf-Percent": "100 % echt", "Nf-Sign": "a:b=c;d,e&f", "Nf-Word": "Jürgen Groß"}
        await client.send(subclass, said, "first line\n\nsecond: line\n")
        await client.send(subclass, {"Nf-Last": "yes"}, "")
        first, last = await client.heard(2)
        assert {name: first[name] for name in said} == said
        assert (first["Event-Name"], first["Event-Subclass"]) == ("CUSTOM", subclass)
        assert first["_body"] == "first line\n\nsecond: line\n"
        assert (last["Nf-Last"], last["_body"]) == ("yes", "")
        assert first["Core-UUID"] == last["Core-UUID"]


async def test_a_filter_lets_its_own_through(client: Client) -> None:
    subclass = f"nf::{uuid4()}"
    await client.hear("plain", subclass, (("Nf-Colour", "green"),))
    for colour, number in (("red", "1"), ("green", "2"), ("blue", "3"), ("green", "4")):
        await client.send(subclass, {"Nf-Colour": colour, "Nf-Number": number}, "")
    assert [one["Nf-Number"] for one in await client.heard(2)] == ["2", "4"]


# -- what only our client does ----------------------------------------------------------------------------------------


async def test_a_wrong_password_is_refused(target: Target) -> None:
    with pytest.raises(IdentityError):
        await EslConnection.open(target.host, target.port, "nf-wrong-password", timeout_s=LIMIT_S)


async def test_who_leaves_is_told_goodbye(target: Target) -> None:
    connection = await EslConnection.open(target.host, target.port, target.password, timeout_s=LIMIT_S)
    seen: list[object] = []
    take = connection._take
    connection._take = lambda message: (seen.append(message), take(message))[1]  # type: ignore[method-assign,func-returns-value]
    try:
        reply = await connection.command("exit")
        assert reply.text.startswith("+OK bye")
    except ConnectionLost:
        pass
    await connection.closed.wait()
    notices = [one for one in seen if isinstance(one, Disconnect)]
    assert [one.linger_s for one in notices] == [None]
    assert "Disconnected, goodbye." in notices[0].text


async def test_a_job_is_known_beside_filters_and_events(target: Target) -> None:
    wanted = Subscription(("HEARTBEAT",), "json", (("Nf-Colour", "green"),))
    async with EslClient(target.host, target.port, target.password, wanted=wanted, timeout_s=LIMIT_S) as client:
        assert (await client.bgapi("eval four")).strip() == "four"


async def test_the_xml_that_is_read_again_is_an_event(target: Target) -> None:
    wanted = Subscription(("RELOADXML",), "json")
    async with EslClient(target.host, target.port, target.password, wanted=wanted, timeout_s=LIMIT_S) as client:
        assert (await client.api("reloadxml")).startswith("+OK")
        async for event in client.events():
            assert isinstance(event, Event)
            assert event.name == "RELOADXML"
            break


async def test_the_driver_reads_all_that_it_needs(target: Target) -> None:
    connection = await EslConnection.open(target.host, target.port, target.password, timeout_s=LIMIT_S)
    live = await read_live(connection)
    assert live.status.version
    assert live.status.most > 0
    assert status_of(await connection.api("status")).most == live.status.most
    assert total_of(await connection.api("show channels count")) >= 0
    assert isinstance(channels_of(await connection.api("show channels as json")), tuple)
    connection.close()


async def test_pausing_and_limits(target: Target) -> None:
    if not target.ours:
        pytest.skip("somebody else's calls are not kept off")
    connection = await EslConnection.open(target.host, target.port, target.password, timeout_s=LIMIT_S)
    await connection.api("fsctl pause inbound")
    assert (await connection.api("fsctl pause_check inbound")).strip() == "true"
    assert (await connection.api("fsctl pause_check outbound")).strip() == "false"
    await connection.api("fsctl resume inbound")
    assert (await connection.api("fsctl pause_check inbound")).strip() == "false"
    await connection.api("fsctl max_sessions 77")
    await connection.api("fsctl sps 33")
    status = status_of(await connection.api("status"))
    assert (status.most, status.most_rate) == (77, 33)
    connection.close()
