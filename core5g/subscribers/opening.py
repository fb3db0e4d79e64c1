"""What all commands of `nf subscriber` share: options, and the database that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.trust.secrets import SECRETS_DIR

if TYPE_CHECKING:
    from core5g.documents import Core5g
    from core5g.open5gs.subscribers import SubscriberDatabase
    from core5g.subscribers.keys import Opener
    from core5g.subscribers.place import DatabaseCredentials
    from core5g.subscribers.scope import Scope

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]
ProfileOption = Annotated[Path | None, typer.Option("--profile", help="Operator profile.", show_default=False)]
FleetOption = Annotated[
    Path | None,
    typer.Option("--fleet", metavar="FILE", help="Fleet document; else the committed one.", show_default=False),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="ADDRESS",
        help="mongodb://HOST:PORT/NAME, secret:NAME@ before HOST; else that of the fleet.",
        show_default=False,
    ),
]
PlmnOption = Annotated[
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


def opener_of(seal_key: str, secrets: Path) -> Opener:
    """What opens sealed keys. Raises NotFoundError, IntegrityError."""
    from core5g.subscribers.keys import NoSealer, Sealer
    from nf.trust.secrets import SecretFiles

    if not seal_key:
        return NoSealer()
    files = SecretFiles(secrets)
    return Sealer(files(seal_key), str(files.path(seal_key)))
