"""Walks end, and miss nothing that can be had, whatever the order of the agent."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from headend.snmp.session import Session
from headend.snmp.stack import Answered
from headend.snmp.values import Syntax, Varbind, beneath, oid_key
from headend.snmp.walk import Walk
from nf.clock import RealClock
from tests.support.snmp import Simulator

ROOT = "1.3.6.1.4.1.1070"


def run(rows: Sequence[str], *, sorts: bool, bulk: int = 3, rows_max: int = 10_000) -> Walk:
    """A walk of an agent that has these rows in this order.

    `sorts`: it finds its place by comparing, as the RFC says; if not, by looking the OID up in its list, and the next
    in the list is next. Duplicates make the second kind say X after X.
    """
    walk = Walk(ROOT, rows_max)
    questions = 0
    while (place := walk.next_place()) is not None:
        questions += 1
        assert questions <= 4 * len(rows) + 4, "it does not end"
        answers = []
        for _ in range(bulk):
            following = _after(rows, place, sorts=sorts)
            if following is None:
                answers.append(Answered(Varbind(place, None, Syntax.NULL), "endOfMibView"))
                break
            answers.append(Answered(Varbind(following, 1, Syntax.INTEGER)))
            place = following
        walk.take(answers)
    return walk


def _after(rows: Sequence[str], place: str, *, sorts: bool) -> str | None:
    if not sorts and place in rows:
        at = rows.index(place) + 1
        return rows[at] if at < len(rows) else None
    return next((row for row in rows if oid_key(row) > oid_key(place)), None)


oids = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda arcs: ".".join([ROOT, *map(str, arcs)])), max_size=25
)


@given(oids, st.integers(1, 8))
def test_an_agent_in_order_is_walked_whole(rows: list[str], bulk: int) -> None:
    ordered = sorted(set(rows), key=oid_key)
    walk = run([*ordered, "1.3.6.1.4.1.1071.1"], sorts=True, bulk=bulk)
    assert list(walk.rows) == ordered
    assert walk.complete


@given(oids, st.booleans(), st.integers(1, 8))
def test_any_disorder_ends(rows: list[str], sorts: bool, bulk: int) -> None:
    walk = run(rows, sorts=sorts, bulk=bulk)
    assert set(walk.rows) <= set(rows)


@given(oids, st.integers(1, 10))
def test_it_stops_at_its_bound(rows: list[str], rows_max: int) -> None:
    assert len(run(sorted(set(rows), key=oid_key), sorts=True, rows_max=rows_max).rows) <= rows_max


def test_order_breaks_and_duplicates_of_a_real_device() -> None:
    """As in an IRD's walk: a row twice, and a later row that sorts before its predecessor."""
    arcs = ["1.1.0", "1.2.0", "1.3.0", "1.3.0", "1.4.0", "3.1.0", "2.1.0", "2.2.0", "4.1.0"]
    rows = [f"{ROOT}.{arc}" for arc in arcs]
    for bulk in (1, 2, 5):
        walk = run(rows, sorts=False, bulk=bulk)
        assert list(walk.rows) == list(dict.fromkeys(rows)) or set(walk.rows) == set(rows)


async def test_tables_with_long_indexes(sim: Simulator) -> None:
    session = Session(sim.target("oid-index"), RealClock())
    root = "1.3.6.1.4.1.8072.9999.9999.6"
    walked = await session.walk(root)
    assert [varbind.value for varbind in walked] == [6, 3, 4]
    assert all(beneath(varbind.oid, root) for varbind in walked)
    await session.close()


async def test_v1_and_v3_walks_are_the_same(sim: Simulator) -> None:
    walks = []
    for version in ("v1", "v2c", "v3"):
        session = Session(sim.target("text-lock", version=version), RealClock())
        walks.append(await session.walk("1.3.6.1.4"))
        await session.close()
    assert walks[0] == walks[1] == walks[2]
    assert len(walks[0]) == 2
