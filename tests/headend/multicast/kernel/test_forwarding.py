from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.documents import ProxySection
from headend.multicast.kernel.driver import section_of, unit_spec
from headend.multicast.kernel.forwarding import outputs_of, work

keys = st.tuples(st.integers(1, 3).map(IPv4Address), st.integers(0xE8010101, 0xE8010104).map(IPv4Address))
wishes = st.dictionaries(st.integers(1, 4), st.frozensets(keys, max_size=4), max_size=4)


@given(wishes, wishes)
def test_work_leads_from_one_state_to_the_other(
    before: dict[int, frozenset[tuple[IPv4Address, IPv4Address]]],
    after: dict[int, frozenset[tuple[IPv4Address, IPv4Address]]],
) -> None:
    have, want = outputs_of(before), outputs_of(after)
    todo = work(have, want)
    assert (have.keys() | set(todo.join)) - set(todo.leave) == want.keys()
    table = {key: outputs for key, outputs in have.items() if key not in set(todo.leave)}
    table |= {(entry.source, entry.group): entry.outputs for entry in todo.add}
    assert table == want
    assert {(entry.source, entry.group) for entry in todo.delete} == set(todo.leave)
    assert all(entry.input == 0 and 0 not in entry.outputs for entry in todo.add)
    assert work(want, want) == work({}, {})


def test_a_unit_tells_what_it_was_started_for() -> None:
    section = ProxySection(
        uplink="eth1", access=("eth2",), gateway=IPv4Address("10.1.0.1"), sources=(IPv4Address("10.2.0.1"),)
    )
    assert section_of(unit_spec(section, Path("/run/x"))) == section
