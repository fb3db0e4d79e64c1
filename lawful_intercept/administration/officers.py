"""Officers: who they are, what their roles may do. Deny by default.

An officer is a SPIFFE id `officer/NAME` of the LI certificate authority; roles are in the store, never in a
certificate, and looked up with each call. A name belongs to one person for ever: who was removed is not added again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from pydantic import with_config

from lawful_intercept.administration.records import CLOSED, Codec, Moment
from nf.errors import DeniedError, InputError
from nf.trust.spiffe import SpiffeId


class Role(Enum):
    CLERK = "clerk"  # writes and submits warrants
    APPROVER = "approver"  # approves or rejects them: four eyes
    AUDITOR = "auditor"  # reads the audit, and nothing else
    ADMIN = "li-admin"  # officers, links, agencies, elements; sees no target


ALONE: Final = frozenset({Role.AUDITOR, Role.ADMIN})
"""Roles that an officer has without any other."""

_WARRANTS: Final = frozenset({Role.CLERK, Role.APPROVER})
_ADMIN: Final = frozenset({Role.ADMIN})
_OPERATING: Final = _WARRANTS | _ADMIN
_AUDITOR: Final = frozenset({Role.AUDITOR})

METHODS: Final[Mapping[str, frozenset[Role]]] = MappingProxyType(
    {
        "warrant.create": frozenset({Role.CLERK}),
        "warrant.submit": frozenset({Role.CLERK}),
        "warrant.approve": frozenset({Role.APPROVER}),
        "warrant.reject": frozenset({Role.APPROVER}),
        "warrant.revoke": _WARRANTS,
        "warrant.list": _WARRANTS,
        "warrant.show": _WARRANTS,
        "warrant.export": _WARRANTS,
        "warrant.import": frozenset({Role.CLERK}),
        "officer.add": _ADMIN,
        "officer.list": _ADMIN,
        "officer.remove": _ADMIN,
        "agency.add": _ADMIN,
        "agency.list": _OPERATING,
        "agency.show": _ADMIN,
        "agency.remove": _ADMIN,
        "element.add": _ADMIN,
        "element.list": _ADMIN,
        "element.check": _ADMIN,
        "element.remove": _ADMIN,
        "status": _OPERATING,
        "alarms": _OPERATING,
        "audit.list": _AUDITOR,
        "audit.verify": _AUDITOR,
        "audit.export": _AUDITOR,
    }
)
"""Every method of the officers' API and who may call it. What is absent nobody may."""


@with_config(CLOSED)
@dataclass(frozen=True, slots=True)
class Officer:
    """`removed_at`: the name stays taken. Raises InputError for roles that do not go together."""

    name: str
    roles: frozenset[Role]
    added_at: Moment
    removed_at: Moment | None = None

    def __post_init__(self) -> None:
        SpiffeId("li.example", "officer", self.name)
        if not self.roles:
            raise InputError("an officer has a role", remedy=f"one of {', '.join(role.value for role in Role)}")
        if len(self.roles) > 1 and self.roles & ALONE:
            raise InputError(
                "auditor and li-admin are roles that nobody has with another", remedy="add a second officer"
            )


OFFICER: Final = Codec(Officer, "an officer")


def check(officer: Officer | None, method: str) -> None:
    """Raises DeniedError. Who is not known learns no more than who may not."""
    allowed = METHODS.get(method, frozenset())
    if officer is None or officer.removed_at is not None or not officer.roles & allowed:
        roles = ", ".join(sorted(role.value for role in allowed))
        raise DeniedError(
            "this officer may not do this",
            where=f"nf-li {method}",
            remedy=f"it takes the role {roles}" if roles else "",
        )
