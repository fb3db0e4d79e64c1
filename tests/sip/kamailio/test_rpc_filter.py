"""What of the RPC nobody is shown, by whichever way it is asked."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.kamailio import jsonrpc, rpc_gate
from sip.kamailio.rpc_filter import CHANGES, READS, TABLES, cut, http_pattern, refusal

HIDDEN = ("obt", "obc", "obs", "obq")


@pytest.mark.parametrize("method", ["htable.listTables", "htable.stats"])
def test_listings_of_all_tables_leave_out_what_is_not_of_the_list(method: str) -> None:
    assert refusal(method, ()) is None
    assert cut(method, [{"name": name} for name in (*HIDDEN, "sub", "another")]) == [{"name": "sub"}]
    assert cut(method, {"name": "obt"}) == []
    assert cut("core.uptime", {"name": "obt"}) == {"name": "obt"}


@pytest.mark.parametrize("method", ["htable.flush", "htable.reload", "htable.store"])
def test_what_goes_beyond_a_key_does_not_exist(method: str) -> None:
    found = refusal(method, ("sub",))
    assert found is not None
    assert found.code == -32601


@pytest.mark.parametrize("method", ["mqueue.fetch", "mqueue.get_sizes", "evapi.list", "system.listMethods", "core.psx"])
def test_queues_and_what_names_all_methods_do_not_exist(method: str) -> None:
    assert refusal(method, ("obq",)) is not None


@given(st.sampled_from(HIDDEN), st.sampled_from(["htable.dump", "htable.get", "htable.sets", "htable.delete"]))
def test_a_hidden_table_is_answered_like_one_that_is_not_there(name: str, method: str) -> None:
    found, absent = refusal(method, (name, "k")), refusal(method, ("no-such-table", "k"))
    assert found is not None
    assert found == absent


def test_http_takes_what_the_client_asks_to_read_and_nothing_else() -> None:
    pattern = re.compile(http_pattern())
    for method in READS:
        assert pattern.search(jsonrpc.request(method, ("a", 1), 7).decode())
    for name in TABLES:
        assert pattern.search(jsonrpc.request("htable.dump", (name,), 7).decode())
    refused = [jsonrpc.request(method, (), 1) for method in (*CHANGES, "mqueue.fetch", "htable.listTables")]
    refused += [jsonrpc.request("htable.dump", (name,), 1) for name in HIDDEN]
    good = jsonrpc.request("core.uptime", (), 1).decode()
    bad = jsonrpc.request("htable.dump", ("obt",), 1).decode()
    refused += [f"[{good},{bad}]".encode(), f"{bad}\n{good}".encode(), f"{good}{bad}".encode()]
    refused.append(rb'{"jsonrpc":"2.0","method":"htable.dump","params":["\u006fbt"],"id":1}')
    refused.append(b'{"jsonrpc":"2.0","method":"core.uptime","params":[],"id":1,"method":"mqueue.fetch"}')
    for one in refused:
        assert not pattern.search(one.decode()), one


@given(st.binary(max_size=200))
def test_the_gate_answers_whatever_comes(data: bytes) -> None:
    class Nobody:
        async def call(self, method: str, *parameters: object) -> str:
            found = refusal(method, parameters)  # type: ignore[arg-type]
            assert found is None
            return "done"

    told = json.loads(asyncio.run(rpc_gate.answer(Nobody(), data)))  # type: ignore[arg-type]
    assert told["jsonrpc"] == "2.0"
