"""The classifier's rules beside those of a recorded SMF, and the judgement that they pass."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.pfcp.proxy.rulebook import RuleBook, begun
from core5g.pfcp.wire import Ie, IeType, MessageType, find, group, grouped
from core5g.steering.classifier import rules
from core5g.steering.classifier.bearer import Bearer, bearer_of
from core5g.steering.classifier.filters import description
from core5g.steering.classifier.steering import _TABLE, Operation, Outcome
from nf.errors import RefusedError
from tests.core5g.pfcp.proxy.peers import recorded

EDGE, BACK = (0x4242, b"\x0a\x32\0\x08"), (0x304, b"\x0a\x32\0\x07")
FILTER = "permit out ip from 203.0.113.0/24 to assigned"


def book() -> RuleBook:
    request = recorded(MessageType.SESSION_ESTABLISHMENT_REQUEST)
    answer = recorded(MessageType.SESSION_ESTABLISHMENT_RESPONSE, "UPF->SMF")
    return RuleBook(begun(request.ies, answer.ies))


def bearer(of: RuleBook | None = None) -> Bearer:
    found = bearer_of(of or book())
    assert found is not None
    return found


def test_the_default_rules_are_found() -> None:
    found = bearer()
    assert found.fteid == bytes.fromhex("01000008990a320007")
    assert found.network_instance == b"\x08internet"
    assert found.ue_address == b"\x02\x0a\x2d\0\2"
    assert found.downlink_pdr == b"\0\1"
    assert found.ohr == b"\6"


def test_what_is_sent_is_what_was_seen_to_work() -> None:
    """The injected modification of the recordings, but for the ids and the filter's own id."""
    made = rules.uplink(bearer(), rules.own_ids(book()), (FILTER,), EDGE)
    pdi = grouped(find(grouped(made[0].value), IeType.PDI) or b"")
    assert [one.type for one in pdi] == [20, 21, 22, 93, 23, 160]
    assert find(pdi, IeType.SOURCE_INTERFACE) == b"\0"
    assert find(pdi, IeType.INTERFACE_TYPE_3GPP) == b"\x0b"
    given_ = grouped(find(grouped(made[1].value), IeType.FORWARDING_PARAMETERS) or b"")
    assert find(given_, IeType.OUTER_HEADER_CREATION) == bytes.fromhex("0100000042420a320008")
    assert find(given_, IeType.INTERFACE_TYPE_3GPP) == b"\x0f"


@given(st.integers(1, 88))
def test_all_that_fits_passes_the_judgement(count: int) -> None:
    standing = book()
    ids = rules.own_ids(standing)
    filters = tuple(description(IPv4Network(f"198.51.{number}.0/24")) for number in range(count))
    assert rules.room(standing) == 88
    rules.judge(rules.uplink(bearer(standing), ids, filters, EDGE), standing)
    rules.judge(rules.downlink(bearer(standing), ids), standing)
    rules.judge(rules.follow(bearer(standing), ids, b"\2"), standing)
    rules.judge(rules.edge_session(bearer(standing), b"\1", None, BACK), None)


@given(st.sets(st.integers(1, 0x7FFF), max_size=10))
def test_ids_keep_away_from_the_smf_s(taken: set[int]) -> None:
    standing = RuleBook()
    for number in taken | {0x7001, 0x7003}:
        standing.apply([group(IeType.CREATE_PDR, [Ie(IeType.PDR_ID, number.to_bytes(2, "big"))])])
        standing.apply([group(IeType.CREATE_FAR, [Ie(IeType.FAR_ID, number.to_bytes(4, "big"))])])
    ids = rules.own_ids(standing)
    assert not set(ids.pdrs) & standing.ids(IeType.CREATE_PDR)
    assert not set(ids.fars) & standing.ids(IeType.CREATE_FAR)
    assert len(set(ids.pdrs)) == 12


def _changed(ies: tuple[Ie, ...], change: Callable[[Ie], Ie | None]) -> tuple[Ie, ...]:
    """Every member at every depth put through `change`."""
    found = []
    for one in ies:
        if one.type in {IeType.CREATE_PDR, IeType.PDI, IeType.CREATE_FAR, IeType.FORWARDING_PARAMETERS}:
            one = group(one.type, _changed(grouped(one.value), change))  # noqa: PLW2901 - opened and closed again
        if (kept := change(one)) is not None:
            found.append(kept)
    return tuple(found)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (IeType.SDF_FILTER, None),
        (IeType.SDF_FILTER, b"\1\0\0\x0dpermit in all"),
        (IeType.FAR_ID, None),
        (IeType.OUTER_HEADER_CREATION, bytes.fromhex("0400" + "0a320008" + "1f90")),
        (IeType.OUTER_HEADER_CREATION, bytes.fromhex("1000" + "0a320008")),
        (IeType.OUTER_HEADER_CREATION, None),
        (IeType.INTERFACE_TYPE_3GPP, None),
        (IeType.INTERFACE_TYPE_3GPP, b"\x10"),
        (IeType.FORWARDING_PARAMETERS, None),
        (IeType.APPLY_ACTION, None),
        (IeType.PDR_ID, b"\0\1"),
    ],
)
def test_what_a_stock_upf_rejects_or_ignores_is_not_sent(kind: IeType, value: bytes | None) -> None:
    def change(one: Ie) -> Ie | None:
        if one.type != kind:
            return one
        return Ie(kind, value) if value is not None else None

    standing = book()
    ies = _changed(rules.uplink(bearer(standing), rules.own_ids(standing), (FILTER,), EDGE), change)
    with pytest.raises(RefusedError):
        rules.judge(ies, standing)


def test_too_many_filters_in_a_pdr_are_not_sent() -> None:
    standing = book()
    made = rules.uplink(bearer(standing), rules.own_ids(standing), (FILTER,), EDGE)

    def change(one: Ie) -> Ie:
        if one.type != IeType.PDI:
            return one
        more = [member for member in grouped(one.value) if member.type == IeType.SDF_FILTER] * 8
        return group(IeType.PDI, (*grouped(one.value), *more))

    with pytest.raises(RefusedError):
        rules.judge(_changed(made, change), standing)


def test_every_outcome_of_every_operation_has_its_effect() -> None:
    assert set(_TABLE) == {(operation, outcome) for operation in Operation for outcome in Outcome}


def test_without_a_ue_s_address_there_is_no_bearer() -> None:
    request = recorded(MessageType.SESSION_ESTABLISHMENT_REQUEST)
    assert bearer_of(RuleBook(begun(request.ies[:2], ()))) is None
    assert bearer_of(RuleBook(begun(request.ies, ()))) is None, "the UPF has not chosen an F-TEID"
