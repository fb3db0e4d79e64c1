"""Who may do what: one table, and nobody who is not in it."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import pytest

from lawful_intercept.administration.officers import METHODS, OFFICER, Officer, Role, check
from nf.errors import DeniedError, InputError

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def officer(*roles: Role) -> Officer:
    return Officer("anna", frozenset(roles), NOW)


def may(role: Role) -> set[str]:
    allowed = set()
    for method in METHODS:
        try:
            check(officer(role), method)
        except DeniedError:
            continue
        allowed.add(method)
    return allowed


def test_an_auditor_reads_the_audit_and_nothing_else() -> None:
    assert may(Role.AUDITOR) == {"audit.list", "audit.verify", "audit.export"}


def test_an_administrator_sees_no_warrant() -> None:
    assert not {method for method in may(Role.ADMIN) if method.startswith(("warrant.", "audit."))}
    assert {"officer.add", "agency.add", "element.add"} <= may(Role.ADMIN)


def test_who_creates_does_not_approve() -> None:
    assert "warrant.approve" not in may(Role.CLERK)
    assert not {"warrant.create", "warrant.submit", "warrant.import"} & may(Role.APPROVER)


@pytest.mark.parametrize("method", ["", "unknown", "warrant", "officer.*"])
def test_what_is_not_in_the_table_nobody_may(method: str) -> None:
    for role in Role:
        with pytest.raises(DeniedError):
            check(officer(role), method)


def test_who_is_not_known_or_was_removed_may_nothing() -> None:
    gone = Officer("anna", frozenset({Role.CLERK}), NOW, NOW)
    for one in (None, gone):
        for method in METHODS:
            with pytest.raises(DeniedError):
                check(one, method)


def test_roles_that_nobody_has_together() -> None:
    for pair in combinations(Role, 2):
        if set(pair) == {Role.CLERK, Role.APPROVER}:
            officer(*pair)
        else:
            with pytest.raises(InputError, match="nobody has with another"):
                officer(*pair)
    with pytest.raises(InputError, match="has a role"):
        officer()


def test_json_and_back() -> None:
    assert OFFICER.read(OFFICER.json(officer(Role.CLERK))) == officer(Role.CLERK)
