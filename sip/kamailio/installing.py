"""Puts on disk what a proxy runs with: its files, its secrets, its databases, and what it is to be told."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets as random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nf.contracts.json import canonical
from nf.documents.model import RuleError
from nf.errors import DriverError, NfError, Problem, RefusedError
from sip.kamailio import certificate, pushing
from sip.kamailio.documents import SECTION, KamailioSection
from sip.kamailio.paths import SETTINGS_DB
from sip.kamailio.places import CERTIFICATE_FILE, SECTION_FILE, STIR_FILE, TABLES_FILE, Places, give
from sip.kamailio.render import render
from sip.kamailio.schema import SCHEMAS
from sip.kamailio.tables import ACCOUNTS, Tables, tables

Resolve = Callable[[str], str]

_SECURE: Final = frozenset({"tls", "wss"})


@dataclass(frozen=True, slots=True)
class Installed:
    """What was another before. `config`: kamailio.cfg, which only a start reads."""

    config: str
    certificate: bool
    dispatcher: bool


def is_secure(section: KamailioSection) -> bool:
    return any(one.transport in _SECURE for one in section.proxy.listeners)


def wanted_tables(section: KamailioSection, resolve: Resolve) -> Tables:
    """Raises RefusedError for accounts that are none, with their line; NotFoundError and such for a missing secret."""
    try:
        return tables(section, resolve(section.accounts))
    except RuleError as error:
        problem = Problem(error.rule, error.remedy, key=f"{SECTION}.accounts", value=section.accounts)
        raise RefusedError("the proxy cannot be told this", where=SECTION, problems=[problem]) from None


def wanted_secrets(section: KamailioSection, places: Places, resolve: Resolve) -> dict[str, str]:
    """File -> PEM. Without a certificate that is named, the one that is there, else a new one of its own."""
    found = {}
    if is_secure(section):
        if section.proxy.certificate is not None:
            found[CERTIFICATE_FILE] = certificate.checked(resolve(section.proxy.certificate), section.proxy.certificate)
        else:
            here = places.read(CERTIFICATE_FILE)
            own = here if here is not None and certificate.is_own(here) else None
            names = (str(section.proxy.address), *map(str, section.virtual), *section.domains)
            found[CERTIFICATE_FILE] = own or certificate.self_signed(names)
    if section.stir is not None:
        found[STIR_FILE] = resolve(section.stir.key)
    return found


def install(section: KamailioSection, places: Places, resolve: Resolve) -> Installed:
    """Everything is made before anything is written. Raises RefusedError and DriverError."""
    told = pushing.to_text(wanted_tables(section, resolve))
    pems = wanted_secrets(section, places, resolve)
    files = render(section, places.paths(section))
    places.make()
    changed = {name for name, text in {**files, **pems}.items() if places.read(name) != text}
    for name, text in {**pems, **files, TABLES_FILE: told}.items():
        if places.read(name) != text:
            places.write(name, text)
    if STIR_FILE not in pems:
        places.file(STIR_FILE).unlink(missing_ok=True)
    make_databases(places)
    places.write(SECTION_FILE, canonical(section.to_json()))
    return Installed(files["kamailio.cfg"], CERTIFICATE_FILE in changed, "dispatcher.list" in changed)


def make_databases(places: Places) -> None:
    """Raises DriverError."""
    for name, text in SCHEMAS.items():
        path = places.data / name
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=20.0)) as connection, connection:
                connection.executescript(text)
                for one in (path, path.with_name(f"{name}-wal"), path.with_name(f"{name}-shm")):
                    if one.exists():
                        give(one, "kamailio")
                        one.chmod(0o660)
        except (sqlite3.Error, OSError) as error:
            raise DriverError(f"cannot make a database: {error}", where=str(path)) from error


def write_settings(places: Places) -> None:
    """Number plan and relays, for a proxy that is about to read them. Raises DriverError."""
    pushing.write_rows(places.data / SETTINGS_DB, pushing.wanted_tables(places.read(TABLES_FILE) or "", places))


def standing(places: Places) -> KamailioSection | None:
    """What the files on disk were made of; None when they are not there, or nothing that can be read."""
    text = places.read(SECTION_FILE)
    if text is None:
        return None
    try:
        return KamailioSection.model_validate_json(text)
    except ValueError:
        return None


def altered(section: KamailioSection, places: Places) -> tuple[str, ...]:
    """Files that somebody else has changed."""
    files = render(section, places.paths(section))
    return tuple(sorted(name for name, text in files.items() if places.read(name) != text))


def stale(section: KamailioSection, places: Places, resolve: Resolve) -> tuple[str, ...]:
    """References whose secret is another now than the one that the proxy was given. One that was lost changes nothing
    of what runs. Compared by digests that mean nothing outside this process, and never shown."""
    key = random.token_bytes(32)

    def digest(text: str | None) -> bytes:
        return hmac.digest(key, (text or "").encode(), hashlib.sha256)

    found: list[str] = []
    named: Mapping[str, str | None] = {
        CERTIFICATE_FILE: section.proxy.certificate if is_secure(section) else None,
        STIR_FILE: section.stir.key if section.stir is not None else None,
    }
    for name, reference in named.items():
        with contextlib.suppress(NfError):
            if reference is not None and digest(resolve(reference)) != digest(places.read(name)):
                found.append(reference)
    with contextlib.suppress(NfError, ValueError, KeyError):
        given = json.loads(places.read(TABLES_FILE) or "{}").get("hashes", {}).get(ACCOUNTS)
        kept = wanted_tables(section, resolve).hashes[ACCOUNTS]
        if digest(canonical(given)) != digest(canonical(dict(kept))):
            found.append(section.accounts)
    return tuple(sorted(found))
