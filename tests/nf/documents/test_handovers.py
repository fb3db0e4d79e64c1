"""Where streams are handed over: the same place for who gives and who takes, and nobody's else."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from nf.documents.fleet import Fleet
from nf.documents.handovers import handovers
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from tests.nf.planning.samples import DOCUMENTS

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True)


def documents() -> tuple[LineUp, Fleet]:
    return (
        load_lineup((DOCUMENTS / "lineup.yaml").read_text(), file="lineup.yaml").document,
        load_fleet((DOCUMENTS / "fleet.yaml").read_text(), file="fleet.yaml").document,
    )


def test_every_pop_of_a_path_with_such_a_fallback_has_a_place() -> None:
    found = handovers(*documents())
    assert [(one.channel, one.taker, one.giver, one.appliance) for one in found] == [
        ("ch1", "sat", "ott", "pop1"),
        ("ch1", "sat", "ott", "pop2"),
        ("ch2", "sat", "ott", "pop1"),
        ("ch2", "sat", "ott", "pop2"),
    ]
    assert len({one.address for one in found}) == 2
    assert all(one.address in IPv4Network("127.64.0.0/10") for one in found)


@given(st.lists(NAMES, min_size=1, max_size=40, unique=True))
def test_addresses_differ_and_do_not_depend_on_the_order_of_channels(names: list[str]) -> None:
    lineup, fleet = documents()
    channel = lineup.spec.channels[0]

    def of(order: list[str]) -> dict[tuple[str, str], str]:
        channels = tuple(channel.model_copy(update={"id": name}) for name in order)
        spec = lineup.spec.model_copy(update={"channels": channels})
        found = handovers(lineup.model_copy(update={"spec": spec}), fleet)
        return {(one.channel, one.appliance): str(one.address) for one in found}

    found = of(names)
    assert len(set(found.values())) == len(names)
    assert of(names[::-1]) == found
