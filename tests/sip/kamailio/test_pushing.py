"""What differs is told and nothing else, whatever stands there."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.json import Json, JsonObject
from nf.errors import DriverError
from sip.kamailio import pushing
from sip.kamailio.jsonrpc import RpcRefused
from sip.kamailio.paths import SETTINGS_DB
from sip.kamailio.pushing import PLAN_MARK, RelayChange, difference, from_text, relay_change, tell, to_text
from sip.kamailio.rpc import RpcClient
from sip.kamailio.schema import SCHEMAS
from sip.kamailio.tables import Tables, tables
from tests.sip.kamailio.proxy import account, section

TEXT = st.text(max_size=20)
HASH = st.dictionaries(TEXT, TEXT | st.integers(-(2**31), 2**31 - 1), max_size=8)


class Daemon(RpcClient):
    """Hash tables, settings and relays, as Kamailio answers about them."""

    def __init__(self, hashes: dict[str, dict[str, str | int]]) -> None:
        super().__init__(Path("/none"), Path("/none"))
        self.hashes = hashes
        self.settings: dict[tuple[str, str], int] = {}
        self.told: list[str] = []

    async def call(self, method: str, *parameters: str | float, timeout_s: float | None = None) -> Json:
        await asyncio.sleep(0)
        name, key = (*map(str, parameters), "", "")[:2]
        table = self.hashes.setdefault(name, {})
        match method:
            case "htable.dump":
                return [{"entry": 1, "size": 1, "slot": [{"name": k, "value": v}]} for k, v in table.items()]
            case "htable.sets" | "htable.seti":
                table[key] = parameters[2] if isinstance(parameters[2], int) else str(parameters[2])
            case "htable.delete":
                if key not in table:
                    raise RpcRefused(method, 404, "Key not found in htable.")
                del table[key]
            case "cfg.get":
                return self.settings.get((name, key), 0)
            case "cfg.set_now_int":
                self.settings[name, key] = int(parameters[2])
            case "rtpengine.show":
                return []
        if not method.endswith(("dump", "get", "show")):
            self.told.append(method)
        return {}


@given(
    st.dictionaries(st.sampled_from(("sub", "num", "ctl")), HASH),
    st.dictionaries(st.sampled_from(("sub", "num")), HASH),
)
def test_afterwards_it_is_as_wanted_and_nothing_more_is_told(
    have: dict[str, dict[str, str | int]], want: dict[str, dict[str, str | int]]
) -> None:
    wanted = Tables(hashes=want, rows={}, settings={("registrar", "max_expires"): 600})

    async def run() -> None:
        daemon = Daemon({name: dict(values) for name, values in have.items()})
        await tell(daemon, await difference(daemon, wanted))
        assert {name: daemon.hashes.get(name, {}) for name in want} == want
        daemon.told.clear()
        again = await difference(daemon, wanted)
        await tell(daemon, again)
        assert daemon.told == []
        assert again.names == ("plan",)  # its mark is set by who has it read

    asyncio.run(run())


def test_what_is_a_matter_of_operation_is_left_alone() -> None:
    wanted = Tables(hashes={"ctl": {"calls": 5}}, rows={}, settings={})

    async def run() -> None:
        daemon = Daemon({"ctl": {"drain": 1, PLAN_MARK: pushing.plan_digest(wanted), "old": 3}})
        found = await difference(daemon, wanted)
        assert found.hashes == {"ctl": {"calls": 5, "old": None}}
        assert not found.plan

    asyncio.run(run())


def test_the_file_is_read_as_it_was_written() -> None:
    made = tables(section(), account("alice"))
    assert from_text(to_text(made)) == made


@given(st.text())
def test_a_file_that_is_none_is_told(text: str) -> None:
    with contextlib.suppress(DriverError):
        assert isinstance(from_text(text), Tables)


def test_relays() -> None:
    rows = ((1, "udp:a:1", 50, 0), (7, "udp:a:1", 50, 0), (1, "udp:b:1", 50, 1))
    live: list[JsonObject] = [
        {"set": 1, "url": "udp:a:1", "weight": 50, "disabled": 1},
        {"set": 7, "url": "udp:a:1", "weight": 50, "disabled": 0},
        {"set": 1, "url": "udp:b:1", "weight": 50, "disabled": "1(permanent)"},
    ]
    assert not relay_change(live, rows)  # one that does not answer is the same relay
    assert relay_change(live[:2], rows) == RelayChange(others=True)
    live[2]["disabled"] = 0
    assert relay_change(live, rows) == RelayChange(drained={"udp:b:1": True})
    live[1]["weight"] = 10
    assert relay_change(live, rows).others


def test_rows_are_replaced_as_a_whole(tmp_path: Path) -> None:
    database = tmp_path / SETTINGS_DB
    with pytest.raises(DriverError):
        pushing.read_rows(database)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(SCHEMAS[SETTINGS_DB])
    made = tables(section(), "")
    assert pushing.write_rows(database, made) == {"plan", "rtpengine"}
    assert pushing.write_rows(database, made) == frozenset()
    assert pushing.read_rows(database)["plan"] == tuple(sorted(made.rows["plan"]))
    bad = Tables(hashes={}, rows={"plan": (("0", "x"), ("0", "y"))}, settings={})
    with pytest.raises(DriverError):
        pushing.write_rows(database, bad)
    assert pushing.read_rows(database)["plan"] == tuple(sorted(made.rows["plan"]))


async def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    order: list[str] = []

    async def hold(name: str) -> None:
        async with pushing.locked(tmp_path / "lock"):
            order.append(f"{name} in")
            await asyncio.sleep(0.1)
            order.append(f"{name} out")

    await asyncio.gather(hold("a"), hold("b"))
    assert [one.partition(" ")[2] for one in order] == ["in", "out", "in", "out"]
