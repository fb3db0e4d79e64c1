"""The keys of Common Encryption (ISO/IEC 23001-7): named in the line-up, and read on the appliance when they are used.

    secret:ch1-key        /etc/nf/secrets/ch1-key, mode 0600: {"key_id": "32 hex digits", "key": "32 hex digits"}
    file:/mnt/keys/ch1    the same, elsewhere
    pkcs11:object=ch1;token=nf?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=secret:hsm-pin
                          an AES key of a token (RFC 7512) that may be read; its CKA_ID is the key id

A key that requests to a key server are signed with is named likewise; it has no key id. A key is in no argument,
document, step, log or status.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from nf.errors import DeniedError, InputError, IntegrityError, NfError, NotFoundError, UnavailableError
from nf.media.documents import Protection
from nf.trust.files import read_private
from nf.trust.secrets import SecretFiles

_KEY_OCTETS = 16
_HEX = re.compile(r"[0-9a-fA-F]{32}")
_FORM = 'write {"key_id": "32 hex digits", "key": "32 hex digits"}'
_SIGNING_OCTETS = frozenset({16, 24, 32})
_SIGNING_FORM = 'write {"key": "32, 48 or 64 hex digits"}'


@dataclass(frozen=True, slots=True)
class ContentKey:
    """The key shows nowhere, also not in `repr`."""

    key_id: bytes
    key: bytes = field(repr=False)


def read_key(reference: str, secrets: Path) -> ContentKey:
    """May block for as long as a token takes. Raises InputError, NotFoundError, IntegrityError, DeniedError,
    UnavailableError; none quotes what was read."""
    scheme, _, rest = reference.partition(":")
    if scheme == "pkcs11":
        return _content_key(*_from_token(rest, secrets))
    try:
        data = json.loads(_text(reference, secrets))
        key_id, key = data["key_id"], data["key"]
        if _HEX.fullmatch(key_id) and _HEX.fullmatch(key):
            return ContentKey(bytes.fromhex(key_id), bytes.fromhex(key))
    except (ValueError, KeyError, TypeError):
        pass
    raise IntegrityError("not a content key", where=reference, remedy=_FORM)


def read_signing_key(reference: str, secrets: Path) -> bytes:
    """An AES key. May block and raises as `read_key` does."""
    scheme, _, rest = reference.partition(":")
    if scheme == "pkcs11":
        key, where, form = _from_token(rest, secrets)[1], reference.partition(";")[0], "make an AES key"
    else:
        key, where, form = b"", reference, _SIGNING_FORM
        with contextlib.suppress(ValueError, KeyError, TypeError):
            key = bytes.fromhex(json.loads(_text(reference, secrets))["key"])
    if len(key) not in _SIGNING_OCTETS:
        raise IntegrityError("not a signing key", where=where, remedy=form)
    return key


def _text(reference: str, secrets: Path) -> str:
    """Of a file that holds a key."""
    scheme, _, rest = reference.partition(":")
    if scheme == "secret":
        return SecretFiles(secrets)(reference)
    if scheme == "file":
        return read_private(Path(rest), "a key").decode(errors="replace")
    raise InputError("not a reference to a key", where=reference, remedy="write it as secret:, file: or pkcs11:")


def _attributes(rest: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Path and query attributes of a PKCS #11 URI (RFC 7512, 2.3)."""
    path, _, query = rest.partition("?")
    pairs = (part.partition("=") for part in path.split(";") if part)
    return {name: unquote(value) for name, _, value in pairs}, {k: v[0] for k, v in parse_qs(query).items()}


def _from_token(rest: str, secrets: Path) -> tuple[bytes, bytes, str]:
    """Key id, key, and what to call it."""
    path, query = _attributes(rest)
    where = f"pkcs11:object={path.get('object', '')}"
    if "object" not in path or "module-path" not in query:
        rule = "a PKCS #11 reference names an object and, after a question mark, the module"
        raise InputError(
            rule, where=where, remedy="pkcs11:object=NAME;token=NAME?module-path=FILE&pin-source=secret:NAME"
        )
    try:
        import pkcs11
    except ImportError:
        raise UnavailableError("no PKCS #11 here", where=where, remedy="install python-pkcs11") from None
    source = query.get("pin-source", "")
    pin = SecretFiles(secrets)(source).strip() if source else None
    try:
        return (*_token_key(pkcs11, path, query["module-path"], pin), where)
    except NfError:
        raise
    except (pkcs11.NoSuchToken, pkcs11.NoSuchKey):
        raise NotFoundError("no such token or key", where=where, remedy="see `pkcs11-tool --list-objects`") from None
    except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.UserNotLoggedIn, pkcs11.AttributeSensitive):
        raise DeniedError(
            "the token does not give the key", where=where, remedy="see its PIN, and whether the key may be extracted"
        ) from None
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        remedy = "see the module and its token"
        raise UnavailableError(f"the token fails: {type(error).__name__}", where=where, remedy=remedy) from None


def _token_key(pkcs11: Any, path: Mapping[str, str], module: str, pin: str | None) -> tuple[bytes, bytes]:
    library = pkcs11.lib(module)
    wanted = {name: path[key] for name, key in (("token_label", "token"), ("token_serial", "serial")) if key in path}
    with library.get_token(**wanted).open(user_pin=pin) as session:
        found = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=path["object"])
        return bytes(found[pkcs11.Attribute.ID]), bytes(found[pkcs11.Attribute.VALUE])


def _content_key(key_id: bytes, key: bytes, where: str) -> ContentKey:
    if len(key_id) != _KEY_OCTETS or len(key) != _KEY_OCTETS:
        remedy = "make an AES key of 16 octets with a CKA_ID of 16 octets"
        raise IntegrityError("not a content key", where=where, remedy=remedy)
    return ContentKey(key_id, key)


def key_flags(protection: Protection, secrets: Path) -> str:
    """What Shaka has to be told of the keys, with a key in it. Raises and blocks as `read_key` does."""
    server = protection.key_server
    if server is None:
        key = read_key(protection.reference, secrets)
        return f"--enable_raw_key_encryption\n--keys=label=:key_id={key.key_id.hex()}:key={key.key.hex()}\n"
    options = {
        "key_server_url": server.url,
        "content_id": server.content_id.encode().hex(),
        "signer": server.signer,
        "aes_signing_key": read_signing_key(server.signing_key, secrets).hex(),
        "aes_signing_iv": server.signing_iv,
    }
    return "--enable_widevine_encryption\n" + "".join(f"--{name}={value}\n" for name, value in options.items())


def flags_fd(flags: str) -> int:
    """A file without a name that Shaka reads as `--flagfile=/dev/fd/N`: an argument would be read by anybody (`ps`).
    Whoever gets the descriptor closes it."""
    fd = os.memfd_create("flags", os.MFD_CLOEXEC)
    os.write(fd, flags.encode())
    return fd
