"""Where the subscribers are and whose they are: from the fleet's equipment `core5g`, and a secret with the credentials.

The database's address holds no password: `mongodb://secret:core5g-db@10.1.0.30:27017/open5gs` names the secret, a file
that only its owner can read, with `USER:PASSWORD` in one line, as Open5GS's functions take it from an appliance. An
operator's may be `{"user": ..., "password": ..., "plmn": "999-71"}`: it ties whoever has it to the subscribers of that
PLMN, an MVNO's. That separates honest people and programs: MongoDB itself knows no such bounds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core5g.documents import EQUIPMENT, Core5g
from core5g.subscribers.scope import Scope
from nf.contracts.noc_client import CLIENT
from nf.documents.loader import load_fleet
from nf.errors import DeniedError, InputError, IntegrityError, NotFoundError, RefusedError
from nf.trust.secrets import SecretFiles

_ADDRESS = re.compile(
    r"mongodb://(?:(?P<secret>secret:[a-z][a-z0-9-]{0,38})@)?(?P<hosts>[A-Za-z0-9.:,\[\]-]+)"
    r"/(?P<name>[A-Za-z0-9_-]{1,63})(?P<options>\?[A-Za-z0-9=&.-]*)?"
)
_FORM: Final = "write it as mongodb://HOST:27017/open5gs, or mongodb://secret:NAME@HOST:27017/open5gs"


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """`uri` has no credentials in it; `secret` names them, empty where none are needed."""

    uri: str
    name: str
    secret: str = ""

    @classmethod
    def parse(cls, text: str, where: str) -> DatabaseAddress:
        """Raises InputError, which does not quote the text: it may have a password in it."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise InputError("not the address of a database, or there is a password in it", where=where, remedy=_FORM)
        uri = f"mongodb://{match['hosts']}/{match['options'] or ''}"
        return cls(uri, match["name"], match["secret"] or "")


@dataclass(frozen=True, slots=True)
class DatabaseCredentials:
    """`plmn`: the only one that they are good for; None for all."""

    user: str = ""
    password: str = field(default="", repr=False)
    plmn: Scope | None = None

    @classmethod
    def read(cls, reference: str, secrets: Path) -> DatabaseCredentials:
        """Raises NotFoundError, and IntegrityError that does not quote the text."""
        files = SecretFiles(secrets)
        where = str(files.path(reference))
        text = files(reference)
        user, password, plmn = _parts(text.strip())
        if not (isinstance(user, str) and isinstance(password, str) and (plmn is None or isinstance(plmn, str))):
            raise IntegrityError("not credentials of a database", where=where, remedy="write USER:PASSWORD in one line")
        return cls(user, password, None if plmn is None else Scope.parse(plmn, where))


def _parts(text: str) -> tuple[object, object, object]:
    """User, password and PLMN; what is not there is None."""
    if not text.startswith("{"):
        user, colon, password = text.partition(":")
        return (user, password, None) if user and colon and "\n" not in text else (None, None, None)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None, None, None
    return data.get("user"), data.get("password"), data.get("plmn")


def core_of(fleet: Path | None, profile: Path | None) -> Core5g:
    """Of the fleet in a file, or of the one that is committed. Raises DocumentError, NotFoundError."""
    if fleet is None:
        name, text = CLIENT.get().committed(profile=profile).fleet
    else:
        try:
            name, text = str(fleet), fleet.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(fleet), remedy="check the path") from None
    part = load_fleet(text, file=name).document.spec.equipment.get(EQUIPMENT)
    if not isinstance(part, Core5g):
        raise NotFoundError("the fleet has no 5G core", where=name, remedy=f"add equipment.{EQUIPMENT} to it")
    return part


def address_of(database: str | None, core: Core5g | None) -> DatabaseAddress:
    """What was typed, or what the fleet says. Raises InputError."""
    if database is not None:
        return DatabaseAddress.parse(database, "--database")
    if core is None or core.database is None:
        raise InputError("where the subscribers are is not said", where=EQUIPMENT, remedy=f"add database: {_FORM}")
    return DatabaseAddress.parse(core.database, f"equipment.{EQUIPMENT}.database")


def scope_of(plmn: str | None, credentials: DatabaseCredentials, core: Core5g | None) -> Scope:
    """The PLMN that was typed, else that of the credentials, else the core's own.

    Raises DeniedError when the credentials are for another one, RefusedError when the fleet knows no such MVNO.
    """
    asked = None if plmn is None else Scope.parse(plmn)
    bound = credentials.plmn
    if asked is not None and bound is not None and asked != bound:
        raise DeniedError(
            f"your credentials are for PLMN {bound}", where=f"--plmn {asked}", remedy="ask who gave them to you"
        )
    found = asked or bound or (None if core is None else Scope.of(core.plmn))
    if found is None:
        raise InputError("which PLMN?", where="--plmn", remedy="add --plmn 999-70, or --fleet FILE")
    served = [] if core is None else [Scope.of(plmn) for plmn in core.plmns]
    if core is not None and found not in served:
        raise RefusedError(
            f"the core serves PLMN {' and '.join(map(str, served))} only",
            where=f"--plmn {found}",
            remedy=f"add the MVNO to mvnos of equipment.{EQUIPMENT}, and commit it",
        )
    return found
