"""`nf image keys`: the signing material of an organisation, and how firmware learns of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT
from nf.errors import InputError

if TYPE_CHECKING:
    from cryptography import x509

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Signing material: Secure Boot keys, bundle signer, manifest key."
)

DirectoryArgument = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The directory of the signing material.", file_okay=False, show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]


@app.command()
def init(
    directory: DirectoryArgument,
    *,
    organisation: Annotated[str, typer.Option("--organisation", metavar="O", help="Stands in every certificate.")] = (
        "StreamVerse"
    ),
    json: JsonOption = False,
) -> None:
    """Make new signing material. It is never overwritten, and nothing else has a copy."""
    from images.signing.keys import make_keys

    keys = make_keys(directory, organisation=organisation)
    if json:
        CLIENT.get().print_json({"directory": str(directory), "keys": [dict(row) for row in _rows(keys.directory)]})
        return
    CLIENT.get().say(f"signing material of {organisation} in {directory}")
    CLIENT.get().say("next: copy all of it to a medium that is locked away; builds need db, bundle and manifest only,")
    CLIENT.get().say("      so take PK.key, KEK.key and bundle-ca.key off this machine; never commit the directory")


@app.command()
def show(directory: DirectoryArgument, *, json: JsonOption = False) -> None:
    """What is there, what each is for, until when it holds, and which private keys are kept elsewhere."""
    from images.signing.keys import load_keys

    keys = load_keys(directory)
    rows = _rows(directory)
    if json:
        CLIENT.get().print_json(
            {"organisation": keys.organisation, "owner": str(keys.owner), "keys": [dict(row) for row in rows]}
        )
        return
    CLIENT.get().print_table(
        ("NAME", "PRIVATE KEY", "UNTIL", "SHA-256", "FOR"),
        tuple(
            (str(row["name"]), str(row["private"]), str(row["until"] or ""), str(row["sha256"])[:16], str(row["for"]))
            for row in rows
        ),
    )


@app.command()
def firmware(
    directory: DirectoryArgument,
    *,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the files go.", show_default=False)],
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", metavar="CERT", help="A further certificate (PEM) for db: a machine's option ROMs."),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--vars", metavar="FILE", help="An empty OVMF variable store: one with our keys is made of it."),
    ] = None,
) -> None:
    """Files that put our keys into firmware: for a machine in setup mode, and for virtual machines."""
    from datetime import UTC, datetime

    from images.signing.firmware import enrolment_files, variable_store
    from images.signing.keys import load_keys, read_certificate

    keys = load_keys(directory)
    now = datetime.now(UTC)
    further = [read_certificate(path) for path in also or ()]
    files = enrolment_files(keys, when=now, further=further)
    try:
        if template is not None:
            files["OVMF_VARS.fd"] = variable_store(template.read_bytes(), keys, when=now, further=further)
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise InputError(f"{error.strerror}", where=str(error.filename)) from error
    CLIENT.get().say(f"{', '.join(sorted(files))} in {output}")
    CLIENT.get().say("next: firmware in setup mode, load db, KEK and PK in this order, then switch Secure Boot on")


def _rows(directory: Path) -> list[JsonObject]:
    from cryptography.hazmat.primitives import hashes

    from images.signing.keys import CERTIFICATES, ROLES, read_certificate

    def fingerprint(certificate: x509.Certificate) -> str:
        return certificate.fingerprint(hashes.SHA256()).hex()

    rows: list[JsonObject] = []
    for name, purpose in ROLES.items():
        row: JsonObject = {
            "name": name,
            "for": purpose,
            "private": "here" if (directory / f"{name}.key").exists() else "elsewhere",
        }
        if name in CERTIFICATES:
            certificate = read_certificate(directory / f"{name}.crt")
            row |= {"until": f"{certificate.not_valid_after_utc:%Y-%m-%d}", "sha256": fingerprint(certificate)}
        else:
            row |= {"until": None, "sha256": _digest(directory / f"{name}.pub")}
        rows.append(row)
    return rows


def _digest(path: Path) -> str:
    from hashlib import sha256

    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_public_key(path.read_bytes())
    return sha256(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()
