"""Whatever stands for a group, a pool or a class of service: it is taken or refused with a remedy, never a crash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headend.multicast.addresses import ethernet
from headend.multicast.documents import SsmPath
from headend.multicast.equipment import GroupPool
from headend.multicast.planning.allocation import ethernet_key, usable
from nf.documents.model import RuleError

TEXT = st.one_of(
    st.text(max_size=40),
    st.ip_addresses().map(str),
    st.ip_addresses(network="232.0.0.0/8").map(str),
    st.ip_addresses(network="ff3e::/64").map(str),
    st.from_regex(r"\A(232\.[0-9]{1,3}\.0\.0|ff3[0-9a-f]::8000:0)/[0-9]{1,3}\Z"),
)
ANYTHING = st.one_of(TEXT, st.integers(), st.none(), st.booleans(), st.lists(st.integers(), max_size=2))


def told(error: ValidationError) -> None:
    for detail in error.errors():
        rule = detail.get("ctx", {}).get("error")
        assert not isinstance(rule, RuleError) or (rule.rule and rule.remedy)


@settings(max_examples=400, deadline=None)
@given(ANYTHING, ANYTHING)
def test_groups_and_classes(group: Any, dscp: Any) -> None:
    family = "ipv6" if isinstance(group, str) and ":" in group else "ipv4"
    data = {"id": "x", "type": "ssm", "rate": "1M", "sites": ["a"], "group": group, "dscp": dscp, "family": family}
    try:
        path = SsmPath.model_validate(data)
    except ValidationError as error:
        told(error)
        return
    assert 0 <= path.dscp <= 63
    if path.group is not None:
        assert usable(path.group)
        assert ethernet(path.group).startswith(("01:00:5e", "33:33:"))
        assert ethernet_key(path.group)[0] == path.group.version
    assert SsmPath.model_validate(path.to_json()) == path


@settings(max_examples=300, deadline=None)
@given(ANYTHING, ANYTHING)
def test_pools(v4: Any, v6: Any) -> None:
    try:
        pool = GroupPool.model_validate({"v4": v4, "v6": v6})
    except ValidationError as error:
        told(error)
        return
    for network in (pool.v4, pool.v6):
        assert network is None or network.num_addresses >= 512
    assert GroupPool.model_validate(pool.to_json()) == pool


@pytest.mark.parametrize("pool", ["232.0.0.0/8", "232.64.0.0/10"])
def test_good_pools(pool: str) -> None:
    assert str(GroupPool.model_validate({"v4": pool}).v4) == pool
