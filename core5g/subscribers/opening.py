"""What all commands of `nf subscriber` share: options, and the database that they name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.trust.secrets import SECRETS_DIR

if TYPE_CHECKING:
    from core5g.documents import Core5g
    from core5g.open5gs.subscribers import SubscriberDatabase
    from core5g.subscribers.keys import Opener
    from core5g.subscribers.place import DatabaseCredentials
    from core5g.subscribers.scope import Scope

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
_ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]
_FleetOption = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="FILE", help="Fleet document; else the committed one.", show_default=False),
]
_DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="ADDRESS",
        help="mongodb://HOST:PORT/NAME, secret:NAME@ before HOST; else that of the fleet.",
        show_default=False,
    ),
]
_PlmnOption = Annotated[
    str | None,
    typer.Option("--plmn", metavar="MCC-MNC", help="An MVNO's; else the core's own.", show_default=False),
]
SecretsOption = Annotated[
    Path, typer.Option("--secrets", metavar="DIR", help="Where secrets are, each a file of mode 0600.")
]
SealKeyOption = Annotated[
    str,
    typer.Option(
        "--seal-key",
        metavar="REFERENCE",
        help="The secret that seals keys, such as secret:sim-seal.",
        show_default=False,
    ),
]
SECRETS = SECRETS_DIR


@dataclass(frozen=True, slots=True)
class Place:
    """`fleet`, `database`, `plmn`, `secrets`, `profile`: as they were typed."""

    fleet: Path | None
    database: str | None
    plmn: str | None
    secrets: Path
    profile: Path | None

    def core(self) -> Core5g:
        """Raises NotFoundError, DocumentError."""
        from core5g.subscribers.place import core_of

        return core_of(self.fleet, self.profile)

    @contextmanager
    def open(self, core: Core5g | None = None) -> Iterator[SubscriberDatabase]:
        """The database. The fleet is not asked where address and PLMN were typed."""
        from core5g.open5gs.subscribers import SubscriberDatabase
        from core5g.subscribers.place import address_of, scope_of

        if core is None and (self.database is None or self.plmn is None):
            core = self.core()
        address = address_of(self.database, core)
        credentials = self._credentials(address.secret)
        scope = scope_of(self.plmn, credentials, core)
        database = SubscriberDatabase.connect(
            address.uri, address.name, scope, user=credentials.user, password=credentials.password
        )
        try:
            yield database
        finally:
            database.close()

    def scope(self, core: Core5g) -> Scope:
        """Without asking the database."""
        from core5g.subscribers.place import address_of, scope_of

        secret = address_of(self.database, core).secret if self.database or core.database else ""
        return scope_of(self.plmn, self._credentials(secret), core)

    def _credentials(self, secret: str) -> DatabaseCredentials:
        from core5g.subscribers.place import DatabaseCredentials

        return DatabaseCredentials.read(secret, self.secrets) if secret else DatabaseCredentials()


_SHARED = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
    for name, option, default in (
        ("fleet", _FleetOption, None),
        ("database", _DatabaseOption, None),
        ("plmn", _PlmnOption, None),
        ("secrets", SecretsOption, SECRETS),
        ("json", JsonOption, False),
        ("profile", _ProfileOption, None),
    )
)


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that name a database, and `--json`: it takes `place` and `json` in their stead."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        place = Place(**{one.name: given.pop(one.name) for one in fields(Place)})
        command(place=place, **given)

    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name not in ("place", "json")]
    shown = signature.replace(parameters=[*own, *_SHARED])
    run.__signature__ = shown  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {one.name: one.annotation for one in shown.parameters.values()}
    return run


def opener_of(seal_key: str, secrets: Path) -> Opener:
    """What opens sealed keys. Raises NotFoundError, IntegrityError."""
    from core5g.subscribers.keys import NoSealer, Sealer
    from nf.trust.secrets import SecretFiles

    if not seal_key:
        return NoSealer()
    files = SecretFiles(secrets)
    return Sealer(files(seal_key), str(files.path(seal_key)))
