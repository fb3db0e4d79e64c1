"""A large table is read whole now and then; what changed in between is seen when it shows in its count or its lines."""

from __future__ import annotations

import pytest

from nf.contracts.json import Json
from sip.kamailio import looking
from sip.kamailio.looking import LARGE, Looked
from sip.kamailio.tables import Tables
from tests.sip.kamailio.test_pushing import Daemon


class Counting(Daemon):
    dumps = 0

    async def call(self, method: str, *parameters: str | float, timeout_s: float | None = None) -> Json:
        if method == "htable.dump" and parameters == ("sub",):
            self.dumps += 1
        if method == "htable.stats":
            return [{"name": name, "all": len(values)} for name, values in self.hashes.items()]
        if method == "htable.get":
            return {"item": {"value": self.hashes[str(parameters[0])].get(str(parameters[1]))}}
        return await super().call(method, *parameters, timeout_s=timeout_s)


def wanted(count: int = LARGE + 1) -> Tables:
    return Tables(hashes={"sub": {f"user{n}": "0" * 32 for n in range(count)}}, rows={}, settings={})


async def test_it_is_counted_in_between() -> None:
    tables, looked = wanted(), Looked()
    daemon = Counting({"sub": dict(tables.hashes["sub"])})
    for _ in range(5):
        assert not (await looked.difference(daemon, tables)).hashes
    assert daemon.dumps == 1
    daemon.hashes["sub"]["mallory"] = "1" * 32
    assert (await looked.difference(daemon, tables)).hashes == {"sub": {"mallory": None}}
    del daemon.hashes["sub"]["mallory"]
    daemon.hashes["sub"] = dict.fromkeys(daemon.hashes["sub"], "2" * 32)
    assert len((await looked.difference(daemon, tables)).hashes["sub"]) == LARGE + 1


async def test_other_wishes_and_time_make_it_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Looked()
    daemon = Counting({"sub": dict(wanted().hashes["sub"])})
    await looked.difference(daemon, wanted())
    assert len((await looked.difference(daemon, wanted(LARGE + 2))).hashes["sub"]) == 1
    assert daemon.dumps == 2
    await looked.difference(daemon, wanted())
    monkeypatch.setattr(looking, "WHOLE_S", 0.0)
    await looked.difference(daemon, wanted())
    assert daemon.dumps == 4


async def test_a_small_one_is_always_read() -> None:
    tables, looked = wanted(3), Looked()
    daemon = Counting({"sub": dict(tables.hashes["sub"])})
    for _ in range(3):
        await looked.difference(daemon, tables)
    assert daemon.dumps == 3
