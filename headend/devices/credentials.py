"""SNMP credentials as the text of a secret: one line, `community NAME` or `v3 USER AUTHPROTO KEY PRIVPROTO KEY`."""

from __future__ import annotations

from typing import Final, TypeVar

from pydantic import SecretStr

from headend.snmp.target import AuthProtocol, Community, Credentials, PrivacyProtocol, Usm
from nf.errors import InputError, IntegrityError

_FORMS: Final = "write one line: community NAME, or v3 USER SHA-256 KEY AES-128 KEY (without the last two: no privacy)"
_LONGEST: Final = 2_000
_Protocol = TypeVar("_Protocol", AuthProtocol, PrivacyProtocol)


def parse_credentials(text: str, where: str) -> Credentials:
    """`where`: the reference, for errors. Protocols in any case, with or without hyphen; `AES` is AES-128.

    Raises IntegrityError, which quotes nothing of the text.
    """
    if len(text) > _LONGEST or len(text.strip().splitlines()) != 1:
        raise _refused("not one line", where)
    match text.split():
        case ["community", name]:
            return Community(name)
        case ["v3", user, *protocols] if len(protocols) in (0, 2, 4):
            return _usm(user, protocols, where)
        case _:
            raise _refused("neither a community nor a v3 user", where)


def _usm(user: str, protocols: list[str], where: str) -> Usm:
    auth, auth_key, privacy, privacy_key = (*protocols, *[""] * (4 - len(protocols)))
    try:
        return Usm(
            user,
            _protocol(AuthProtocol, auth, "authentication", where) if auth else None,
            SecretStr(auth_key),
            _protocol(PrivacyProtocol, privacy, "privacy", where) if privacy else None,
            SecretStr(privacy_key),
        )
    except InputError as error:
        raise _refused(error.message, where) from None


def _protocol(kind: type[_Protocol], name: str, what: str, where: str) -> _Protocol:
    plain = name.upper().replace("-", "")
    for protocol in kind:
        if plain == protocol.value.replace("-", "") or (plain == "AES" and protocol is PrivacyProtocol.AES128):
            return protocol
    raise _refused(f"an unknown {what} protocol, not one of {', '.join(p.value for p in kind)}", where)


def _refused(why: str, where: str) -> IntegrityError:
    return IntegrityError(f"no SNMP credentials: {why}", where=where, remedy=_FORMS)
