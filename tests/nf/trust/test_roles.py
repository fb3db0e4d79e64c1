from __future__ import annotations

import asyncio

import pytest

from nf.clock import VirtualClock
from nf.errors import ConflictError, InputError, NotFoundError, RefusedError
from nf.store.sqlite import SqliteStore
from nf.trust.authority import OPERATOR_LIFETIME_S, Authority
from nf.trust.identity import Identity
from nf.trust.register import is_revoked, local_actor
from nf.trust.roles import OperatorRole, Operators
from nf.trust.spiffe import SpiffeId

SECURITY = SpiffeId("tv.example", "operator", "sam")


@pytest.fixture
def operators(store: SqliteStore, authority: Authority) -> Operators:
    return Operators(store, authority)


def test_roles_are_ordered() -> None:
    assert sorted(OperatorRole) == list(OperatorRole)
    assert [role.value for role in OperatorRole] == ["viewer", "operator", "engineer", "security"]
    assert OperatorRole.ENGINEER >= OperatorRole.OPERATOR
    assert not OperatorRole.VIEWER > OperatorRole.VIEWER


async def test_an_operator_is_added_with_an_identity_of_thirty_days(
    operators: Operators, store: SqliteStore, clock: VirtualClock
) -> None:
    identity = await operators.add("alice", OperatorRole.ENGINEER, ["pop2", "pop1", "pop1"])
    assert str(identity.spiffe_id) == "spiffe://tv.example/operator/alice"
    assert identity.not_after == clock.now() + OPERATOR_LIFETIME_S
    assert not await is_revoked(store, identity.spiffe_id, identity.serial)
    record = await operators.get("alice")
    assert record is not None
    assert (record.role, record.sites) == (OperatorRole.ENGINEER, ("pop1", "pop2"))
    assert record.covers("pop1")
    assert not record.covers("hub")
    (audit,) = await store.audit_records(10)
    assert (audit.actor, audit.action, audit.object) == (local_actor("tv.example"), "operator.add", "operator/alice")
    assert "PRIVATE" not in audit.detail_json


async def test_without_sites_the_role_holds_everywhere(operators: Operators) -> None:
    await operators.add("alice", OperatorRole.VIEWER)
    record = await operators.get("alice")
    assert record is not None
    assert record.covers("anywhere")


async def test_an_identity_is_issued_once_until_it_has_expired(operators: Operators, clock: VirtualClock) -> None:
    await operators.add("alice", OperatorRole.VIEWER)
    with pytest.raises(RefusedError, match="valid identity"):
        await operators.add("alice", OperatorRole.SECURITY)
    await clock.advance(OPERATOR_LIFETIME_S + 1)
    again = await operators.add("alice", OperatorRole.OPERATOR)
    assert not again.expired(clock.now())
    record = await operators.get("alice")
    assert record is not None
    assert record.role is OperatorRole.OPERATOR


async def test_a_role_is_what_the_register_says_now(operators: Operators, store: SqliteStore) -> None:
    identity = await operators.add("alice", OperatorRole.ENGINEER)
    await operators.assign("alice", OperatorRole.VIEWER, ["pop1"], author=SECURITY)
    record = await operators.get("alice")
    assert record is not None
    assert (record.role, record.sites) == (OperatorRole.VIEWER, ("pop1",))
    assert not await is_revoked(store, identity.spiffe_id, identity.serial)
    assert (await store.audit_records(1))[0].actor == str(SECURITY)


async def test_a_removed_operator_is_out_at_once(operators: Operators, store: SqliteStore) -> None:
    identity = await operators.add("alice", OperatorRole.ENGINEER)
    await operators.add("bob", OperatorRole.VIEWER)
    await operators.remove("alice", author=SECURITY)
    assert await operators.get("alice") is None
    assert [record.name for record in await operators.list()] == ["bob"]
    assert await is_revoked(store, identity.spiffe_id, identity.serial)
    for act in (operators.remove("alice"), operators.assign("alice", OperatorRole.VIEWER)):
        with pytest.raises(NotFoundError):
            await act
    again = await operators.add("alice", OperatorRole.VIEWER)
    assert await is_revoked(store, identity.spiffe_id, identity.serial)
    assert not await is_revoked(store, again.spiffe_id, again.serial)


async def test_of_two_additions_at_once_one_wins(operators: Operators) -> None:
    results = await asyncio.gather(
        *(operators.add("alice", OperatorRole.VIEWER) for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(result, Identity) for result in results) == 1
    assert sum(isinstance(result, ConflictError | RefusedError) for result in results) == 1


async def test_a_name_is_a_name(operators: Operators) -> None:
    with pytest.raises(InputError):
        await operators.add("Alice Smith", OperatorRole.VIEWER)
    with pytest.raises(InputError):
        await operators.get("../noc")
