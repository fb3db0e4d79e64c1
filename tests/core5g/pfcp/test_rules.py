"""Rules as values: the recorded ones octet by octet, and any that can be made."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given

from core5g.pfcp.ies import (
    DestinationInterface,
    FarId,
    InterfaceType3gpp,
    OuterHeaderRemoval,
    PdrId,
    Removal,
    SourceInterface,
    UeIpAddress,
)
from core5g.pfcp.rules import (
    CreatedPdr,
    CreateFar,
    CreatePdr,
    Pdi,
    RemoveFar,
    RemovePdr,
    UpdateFar,
    UpdatePdr,
)
from core5g.pfcp.wire import Ie, IeType, PfcpError, decode, group
from tests.core5g.pfcp import strategies as make
from tests.core5g.pfcp.recordings import establishment, recorded

KINDS: dict[int, Any] = {
    IeType.CREATE_PDR: CreatePdr,
    IeType.UPDATE_PDR: UpdatePdr,
    IeType.REMOVE_PDR: RemovePdr,
    IeType.CREATED_PDR: CreatedPdr,
    IeType.CREATE_FAR: CreateFar,
    IeType.UPDATE_FAR: UpdateFar,
    IeType.REMOVE_FAR: RemoveFar,
}


def strangers(rule: Any) -> bool:
    """Whether IEs without a field stand among those of a rule: they come back behind the others."""
    inner = getattr(rule, "forwarding", None) or getattr(rule, "pdi", None)
    return bool(getattr(rule, "other", ()) or getattr(inner, "other", ()))


def test_recorded_rules_come_back_octet_by_octet() -> None:
    counted = dict.fromkeys(KINDS, 0)
    for one in recorded():
        for found in decode(one.data).ies:
            kind = KINDS.get(found.type)
            if kind is not None:
                rule = kind.decode(found.value)
                made = rule.ie()
                assert made == found or strangers(rule)
                assert len(made.value) == len(found.value)
                assert kind.decode(made.value) == rule
                counted[found.type] += 1
    assert all(counted.values())


@given(make.create_pdrs)
def test_any_detection_rule_comes_back(rule: CreatePdr) -> None:
    assert CreatePdr.decode(rule.ie().value) == rule


@given(make.update_pdrs)
def test_any_change_of_a_detection_rule_comes_back(rule: UpdatePdr) -> None:
    assert UpdatePdr.decode(rule.ie().value) == rule


@given(make.create_fars)
def test_any_forwarding_rule_comes_back(rule: CreateFar) -> None:
    assert CreateFar.decode(rule.ie().value) == rule


@given(make.update_fars)
def test_any_change_of_a_forwarding_rule_comes_back(rule: UpdateFar) -> None:
    assert UpdateFar.decode(rule.ie().value) == rule


@given(make.created_pdrs)
def test_any_report_of_a_made_rule_comes_back(rule: CreatedPdr) -> None:
    assert CreatedPdr.decode(rule.ie().value) == rule


@given(make.pdr_ids, make.far_ids)
def test_removals_come_back(pdr: PdrId, far: FarId) -> None:
    assert RemovePdr.decode(RemovePdr(pdr).ie().value) == RemovePdr(pdr)
    assert RemoveFar.decode(RemoveFar(far).ie().value) == RemoveFar(far)


def test_the_rules_of_the_real_smf() -> None:
    message = decode(establishment())
    pdrs = [CreatePdr.decode(value) for value in message.all(IeType.CREATE_PDR)]
    fars = [CreateFar.decode(value) for value in message.all(IeType.CREATE_FAR)]
    assert [(pdr.id, pdr.far_id, pdr.pdi.source) for pdr in pdrs] == [
        (1, 1, SourceInterface.CORE),
        (2, 2, SourceInterface.ACCESS),
        (3, 1, SourceInterface.CP_FUNCTION),
        (4, 3, SourceInterface.ACCESS),
    ]
    assert pdrs[0].pdi.ue_ips == (UeIpAddress(IPv4Address("10.45.0.2"), destination=True),)
    assert pdrs[1].outer_header_removal == OuterHeaderRemoval(Removal.GTPU_IP)
    assert pdrs[3].pdi.sdf_filters[0].flow_description == "permit out 58 from ff02::2/128 to assigned"
    assert fars[0].forwarding is None  # the gNB is not known yet
    assert fars[1].forwarding is not None
    assert fars[1].forwarding.destination is DestinationInterface.CORE
    assert fars[1].forwarding.interface_type is InterfaceType3gpp.N6


@pytest.mark.parametrize(
    ("kind", "members", "missing"),
    [
        (CreatePdr, [], IeType.PDR_ID),
        (CreatePdr, [Ie(56, b"\0\1")], IeType.PRECEDENCE),
        (CreatePdr, [Ie(56, b"\0\1"), Ie(29, bytes(4))], IeType.PDI),
        (CreatePdr, [Ie(56, b"\0\1"), Ie(29, bytes(4)), group(IeType.PDI, [])], IeType.SOURCE_INTERFACE),
        (CreateFar, [Ie(108, bytes(4))], IeType.APPLY_ACTION),
        (UpdatePdr, [], IeType.PDR_ID),
        (UpdateFar, [], IeType.FAR_ID),
        (RemovePdr, [], IeType.PDR_ID),
        (RemoveFar, [], IeType.FAR_ID),
        (CreatedPdr, [], IeType.PDR_ID),
        (Pdi, [], IeType.SOURCE_INTERFACE),
    ],
)
def test_rules_that_lack_what_they_must_have(kind: Any, members: list[Ie], missing: IeType) -> None:
    with pytest.raises(PfcpError) as caught:
        kind.decode(group(1, members).value)
    assert (caught.value.reason, caught.value.ie) == ("missing", missing)
