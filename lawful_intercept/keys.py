"""Keys of lawful intercept: named by reference, held in sealed memory, wiped after use.

    file:PATH             mode 0600, hexadecimal digits: 64 for a store, as many as the cipher takes for a payload
    pkcs11:object=NAME;token=NAME?module-path=FILE&pin-source=file:PATH
                          a key of a token or HSM (RFC 7512)

What is encrypted at rest has a key of its own for each store, which lies beside it wrapped by the one that the
reference names: that one may be a token's that never leaves it, and can be another one without a store written anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import parse_qs, unquote

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lawful_intercept.isolation import Sealed
from nf.errors import DeniedError, InputError, IntegrityError, NfError, NotFoundError, RefusedError, UnavailableError
from nf.trust.files import read_private, write_private

STORE_OCTETS: Final = 32
_NONCE_OCTETS: Final = 12
_TAG_BITS: Final = 128
_WRAPPED: Final = b"LIK1"
_HEX: Final = re.compile(rb"\s*([0-9a-fA-F]*)\s*")
_WRAPPED_OCTETS: Final = len(_WRAPPED) + _NONCE_OCTETS + STORE_OCTETS + _TAG_BITS // 8


class SecretKey:
    """`with key.opened() as octets` lends them; `wipe()` or the end of `with key` ends them."""

    __slots__ = ("_sealed",)

    def __init__(self, octets: bytes | bytearray | memoryview) -> None:
        """Raises StorageError."""
        self._sealed = Sealed(octets)

    def __repr__(self) -> str:
        return "SecretKey()"

    def __reduce__(self) -> str:
        raise TypeError("a key is in no pickle")

    def __len__(self) -> int:
        return len(self._sealed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @contextlib.contextmanager
    def opened(self) -> Iterator[memoryview]:
        """Raises StorageError when it is wiped."""
        with self._sealed.opened() as view:
            yield view

    def aead(self) -> AESGCM:
        """AES-GCM with this key, in the library's own memory as long as that lives."""
        with self.opened() as view:
            return AESGCM(bytes(view))

    def wipe(self) -> None:
        """Idempotent."""
        self._sealed.wipe()


def new_key() -> SecretKey:
    """For a store. Raises StorageError."""
    return SecretKey(secrets.token_bytes(STORE_OCTETS))


def write_key(path: Path, key: SecretKey | None = None) -> None:
    """A file for `file:PATH`; without `key` a fresh one. Raises RefusedError (there is one), StorageError."""
    if path.exists():
        raise RefusedError("there is a key already", where=str(path), remedy="name another file, or use it")
    with key if key is not None else new_key() as made, made.opened() as octets:
        write_private(path, octets.hex().encode() + b"\n", keep=True)


def read_key(reference: str, octets: frozenset[int] = frozenset({STORE_OCTETS})) -> SecretKey:
    """A key whose octets this process may have. `octets`: how long it may be. May block for as long as a token takes.

    Raises InputError, NotFoundError, IntegrityError, DeniedError, UnavailableError, StorageError; none quotes a key.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "file":
        return _file_key(Path(rest), octets)
    if scheme != "pkcs11":
        raise InputError("not a reference to a key", remedy="write file:PATH or pkcs11:object=NAME;token=NAME?...")
    with _token(rest) as (pkcs11, found, where):
        value = bytearray(found[pkcs11.Attribute.VALUE])
    return _made(value, octets, where)


def _file_key(path: Path, octets: frozenset[int]) -> SecretKey:
    text = read_private(path, "a key")
    match = _HEX.fullmatch(text)
    if match is None or len(match[1]) % 2:
        raise IntegrityError("not a key", where=str(path), remedy="write hexadecimal digits: `openssl rand -hex 32`")
    return _made(bytearray.fromhex(match[1].decode()), octets, str(path))


def _made(value: bytearray, octets: frozenset[int], where: str) -> SecretKey:
    try:
        if len(value) not in octets:
            wanted = " or ".join(map(str, sorted(octets)))
            raise IntegrityError("the key has another length", where=where, remedy=f"make one of {wanted} octets")
        return SecretKey(value)
    finally:
        value[:] = bytes(len(value))


class Keeper(Protocol):
    """Wraps keys of stores. `purpose` is bound to what is wrapped: it opens with the same one alone."""

    def wrap(self, key: SecretKey, purpose: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes, purpose: bytes) -> SecretKey:
        """Raises IntegrityError."""


def keeper(reference: str) -> Keeper:
    """Of the key that `reference` names. Calls may block and raise as `read_key` does."""
    scheme, _, rest = reference.partition(":")
    if scheme == "pkcs11":
        return _TokenKeeper(rest)
    return _FileKeeper(reference)


class _FileKeeper:
    def __init__(self, reference: str) -> None:
        self._reference = reference

    def wrap(self, key: SecretKey, purpose: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        with read_key(self._reference) as own, key.opened() as octets:
            return _WRAPPED + nonce + own.aead().encrypt(nonce, bytes(octets), purpose)

    def unwrap(self, wrapped: bytes, purpose: bytes) -> SecretKey:
        nonce, sealed = _parts(wrapped)
        with read_key(self._reference) as own:
            try:
                return SecretKey(own.aead().decrypt(nonce, sealed, purpose))
            except InvalidTag:
                raise _not_ours() from None


class _TokenKeeper:
    """AES-GCM within the token (CKM_AES_GCM): its key need not be readable, nor should it be."""

    def __init__(self, rest: str) -> None:
        self._rest = rest

    def wrap(self, key: SecretKey, purpose: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        with _token(self._rest) as (pkcs11, own, _), key.opened() as octets:
            how = {
                "mechanism": pkcs11.Mechanism.AES_GCM,
                "mechanism_param": pkcs11.GCMParams(nonce, purpose, _TAG_BITS),
            }
            return _WRAPPED + nonce + bytes(own.encrypt(bytes(octets), **how))

    def unwrap(self, wrapped: bytes, purpose: bytes) -> SecretKey:
        nonce, sealed = _parts(wrapped)
        with _token(self._rest) as (pkcs11, own, _):
            how = {
                "mechanism": pkcs11.Mechanism.AES_GCM,
                "mechanism_param": pkcs11.GCMParams(nonce, purpose, _TAG_BITS),
            }
            try:
                return SecretKey(bytes(own.decrypt(sealed, **how)))
            except (pkcs11.EncryptedDataInvalid, pkcs11.EncryptedDataLenRange, pkcs11.GeneralError):
                raise _not_ours() from None


def _parts(wrapped: bytes) -> tuple[bytes, bytes]:
    if len(wrapped) != _WRAPPED_OCTETS or not wrapped.startswith(_WRAPPED):
        raise IntegrityError("not a wrapped key", remedy="restore it from a backup")
    at = len(_WRAPPED)
    return wrapped[at : at + _NONCE_OCTETS], wrapped[at + _NONCE_OCTETS :]


def _not_ours() -> NfError:
    remedy = "see `store_key`, or restore the file from the same backup as its store"
    return IntegrityError("a wrapped key does not open with this one", remedy=remedy)


def store_key(reference: str, state: Path, name: str = "store") -> SecretKey:
    """The key of a store in `state`: unwrapped from NAME.key there; made, wrapped and written the first time.

    May block and raises as `read_key` does.
    """
    path, own = state / f"{name}.key", keeper(reference)
    purpose = name.encode()
    try:
        wrapped = read_private(path, "a wrapped key")
    except NotFoundError:
        with new_key() as made:
            write_private(path, own.wrap(made, purpose), keep=True)
        wrapped = read_private(path, "a wrapped key")
    try:
        return own.unwrap(wrapped, purpose)
    except IntegrityError as error:
        raise IntegrityError(error.message, where=str(path), remedy=error.remedy) from None


def rewrap(before: str, after: str, state: Path, name: str = "store") -> None:
    """Another key for the same store, whose contents stay as they are. Raises as `store_key` does."""
    path, purpose = state / f"{name}.key", name.encode()
    with keeper(before).unwrap(read_private(path, "a wrapped key"), purpose) as key:
        write_private(path, keeper(after).wrap(key, purpose))


def _attributes(rest: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Path and query attributes of a PKCS #11 URI (RFC 7512, 2.3)."""
    path, _, query = rest.partition("?")
    pairs = (part.partition("=") for part in path.split(";") if part)
    return {name: unquote(value) for name, _, value in pairs}, {k: v[0] for k, v in parse_qs(query).items()}


@contextlib.contextmanager
def _token(rest: str) -> Iterator[tuple[Any, Any, str]]:
    """The library, the key in an open session, and what to call it."""
    path, query = _attributes(rest)
    where = f"pkcs11:object={path.get('object', '')}"
    source = query.get("pin-source", "")
    if "object" not in path or "module-path" not in query or not (source == "" or source.startswith("file:")):
        remedy = "pkcs11:object=NAME;token=NAME?module-path=FILE&pin-source=file:PATH"
        raise InputError("not a reference to a key of a token", where=where, remedy=remedy)
    try:
        import pkcs11
    except ImportError:
        raise UnavailableError("no PKCS #11 here", where=where, remedy="install python-pkcs11") from None
    pin = read_private(Path(source.removeprefix("file:")), "a PIN").decode(errors="replace").strip() if source else None
    wanted = {name: path[key] for name, key in (("token_label", "token"), ("token_serial", "serial")) if key in path}
    try:
        library = pkcs11.lib(os.fspath(query["module-path"]))
        with library.get_token(**wanted).open(user_pin=pin) as session:
            found = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=path["object"])
            yield pkcs11, found, where
    except NfError:
        raise
    except (pkcs11.NoSuchToken, pkcs11.NoSuchKey):
        raise NotFoundError("no such token or key", where=where, remedy="see `pkcs11-tool --list-objects`") from None
    except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.UserNotLoggedIn, pkcs11.AttributeSensitive):
        remedy = "see its PIN, and what the key may be used for"
        raise DeniedError("the token does not give the key", where=where, remedy=remedy) from None
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        remedy = "see the module and its token"
        raise UnavailableError(f"the token fails: {type(error).__name__}", where=where, remedy=remedy) from None
