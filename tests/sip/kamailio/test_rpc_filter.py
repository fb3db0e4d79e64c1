"""What of the RPC nobody is shown, by whichever way it is asked."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.kamailio import jsonrpc, rpc_gate
from sip.kamailio.rpc_filter import CHANGES, READS, TABLES, http_pattern, refusal

HIDDEN = ("obt", "obc", "obs", "obq")


@pytest.mark.parametrize("method", [f"htable.{one}" for one in ("listTables", "stats", "flush", "reload", "store")])
def test_listings_of_all_tables_do_not_exist(method: str) -> None:
    found = refusal(method, ())
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
