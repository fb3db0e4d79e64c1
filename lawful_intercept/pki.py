"""Certificates and keys of lawful intercept: an authority of its own, which no other part of the product knows.

Every link may have its own (X1, X2 and X3, each agency): make one for each in a directory of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from lawful_intercept.keys import rewrap, write_key
from nf.clock import Clock, RealClock
from nf.errors import InputError, NotFoundError, RefusedError
from nf.trust.authority import Authority
from nf.trust.certificates import load_certificate
from nf.trust.files import write_private
from nf.trust.keys import key_pem, new_key
from nf.trust.spiffe import SpiffeId

DAYS: Final = 90
"""For which an element's or officer's certificate is good, unless another time is named."""
_DAY_S: Final = 86_400


class Who(StrEnum):
    """`element`: ADMF, MDF, points, LEMF. `officer`: a person."""

    ELEMENT = "element"
    OFFICER = "officer"


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM files: certificate, its key (0600), and the authority's certificate beside them. Fits `tls.Files`."""

    certificate: Path
    key: Path
    authority: Path


def create(directory: Path, domain: str, clock: Clock) -> Authority:
    """Raises RefusedError (there is one), InputError (no trust domain), StorageError."""
    return Authority.create(directory, domain, clock)


def issue(
    authority: Authority,
    who: Who,
    name: str,
    into: Path,
    *,
    ip: Sequence[str] = (),
    dns: Sequence[str] = (),
    days: float = DAYS,
    replace: bool = False,
) -> Issued:
    """NAME.pem, NAME.key and ca.pem in `into`. `replace`: also when there are such files, with a key that is new.

    Raises RefusedError (there are such files), InputError (a name that is none), StorageError.
    """
    identity = SpiffeId(authority.domain, who.value, name)
    made = Issued(into / f"{name}.pem", into / f"{name}.key", into / "ca.pem")
    if not replace and (made.certificate.exists() or made.key.exists()):
        raise RefusedError("there is one of this name", where=str(made.certificate), remedy="renew it with --replace")
    key = new_key()
    pem = authority.issue(identity, key.public_key(), days * _DAY_S, dns_names=dns, ip=ip)
    write_private(made.key, key_pem(key))
    write_private(made.certificate, pem)
    write_private(made.authority, authority.ca_pem)
    return made


app = typer.Typer(
    help="Certificates of lawful intercept: its own authority, elements and officers.", no_args_is_help=True
)

_Directory = Annotated[Path, typer.Option("--authority", help="directory of the authority")]


@app.command("init")
def _init(
    directory: Annotated[Path, typer.Argument(help="made, mode 0700; its key stays there")],
    domain: Annotated[str, typer.Option(help="trust domain, such as li.example")],
) -> None:
    """Make an authority, good for ten years."""
    made = create(directory, domain, RealClock())
    typer.echo(f"{made.domain}  sha256 {made.fingerprint}")


@app.command("issue")
def _issue(
    who: Annotated[Who, typer.Argument()],
    name: Annotated[str, typer.Argument(help="of an element: the identifier that X1 uses")],
    *,
    authority: _Directory = Path(),
    into: Annotated[Path | None, typer.Option(help="directory for the files; AUTHORITY/issued unless named")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="address that foreign peers may check; repeat it")] = None,
    dns: Annotated[list[str] | None, typer.Option(help="name that foreign peers may check; repeat it")] = None,
    days: Annotated[int, typer.Option(min=1, max=825)] = DAYS,
    replace: Annotated[bool, typer.Option("--replace", help="renew: a new key in the same files")] = False,
) -> None:
    """Make a key and its certificate: NAME.key (0600), NAME.pem, ca.pem."""
    try:
        opened = Authority.open(authority, RealClock())
    except NotFoundError:
        raise NotFoundError("there is no authority", where=str(authority), remedy="nf-li pki init DIRECTORY") from None
    place = into if into is not None else authority / "issued"
    made = issue(opened, who, name, place, ip=ip or (), dns=dns or (), days=days, replace=replace)
    typer.echo(f"{SpiffeId(opened.domain, who.value, name)}  {made.certificate}  {days} days")


def trust_bundle(authorities: Sequence[Path], into: Path) -> None:
    """One file of several authorities' certificates: whose peers a link believes while one follows another.

    Raises IdentityError (one is none), InputError, NotFoundError, StorageError.
    """
    parts = []
    for path in authorities:
        try:
            pem = path.read_bytes()
        except OSError:
            raise NotFoundError("there is no such certificate", where=str(path)) from None
        load_certificate(pem, str(path))
        parts.append(pem.rstrip() + b"\n")
    if not parts:
        raise InputError("a bundle has at least one authority")
    write_private(into, b"".join(parts))


@app.command("bundle")
def _bundle(
    into: Annotated[Path, typer.Argument(help="the file that is written")],
    authorities: Annotated[list[Path], typer.Argument(help="ca.pem of each")],
) -> None:
    """Write several authorities into one file, so that one can follow another."""
    trust_bundle(authorities, into)


@app.command("key")
def _key(
    path: Annotated[Path, typer.Argument(help="the file that is written, mode 0600: `file:PATH` in settings")],
) -> None:
    """Make a key that stores are encrypted under."""
    write_key(path)
    typer.echo(f"file:{path}")


@app.command("rewrap")
def _rewrap(
    state: Annotated[Path, typer.Argument(help="a process's state directory")],
    before: Annotated[str, typer.Option(help="what `store_key` is now")],
    after: Annotated[str, typer.Option(help="what `store_key` will be")],
) -> None:
    """Wrap the keys of all stores in a state directory by another key; the stores stay as they are."""
    found = sorted(state.glob("*.key"))
    if not found:
        raise NotFoundError("no wrapped key is here", where=str(state), remedy="name the process's state directory")
    for path in found:
        rewrap(before, after, state, path.stem)
        typer.echo(path.name)
