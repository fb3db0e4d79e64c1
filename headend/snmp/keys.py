"""USM credentials as gufo-snmp takes them; the dear part, turning a password into a key, is done once a session."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from gufo.snmp import (
    Aes128Key,
    Aes192Key,
    Aes256Key,
    DesKey,
    Md5Key,
    Sha1Key,
    Sha224Key,
    Sha256Key,
    Sha384Key,
    Sha512Key,
    User,
)
from gufo.snmp.user import BaseAuthKey, BasePrivKey, KeyType

from headend.snmp.target import AuthProtocol, PrivacyProtocol, Usm

_AUTH: Final[dict[AuthProtocol, type[BaseAuthKey]]] = {
    AuthProtocol.MD5: Md5Key,
    AuthProtocol.SHA: Sha1Key,
    AuthProtocol.SHA224: Sha224Key,
    AuthProtocol.SHA256: Sha256Key,
    AuthProtocol.SHA384: Sha384Key,
    AuthProtocol.SHA512: Sha512Key,
}
_PRIVACY: Final[dict[PrivacyProtocol, type[BasePrivKey]]] = {
    PrivacyProtocol.DES: DesKey,
    PrivacyProtocol.AES128: Aes128Key,
    PrivacyProtocol.AES192: Aes192Key,
    PrivacyProtocol.AES256: Aes256Key,
}


class MasterKeys:
    """The keys of one user before they are localised to an engine (RFC 3414 A.2: a million octets hashed for each)."""

    def __init__(self, usm: Usm) -> None:
        self._usm = usm

    @cached_property
    def user(self) -> User:
        usm = self._usm
        if usm.auth_protocol is None:
            return User(usm.user)
        auth = _AUTH[usm.auth_protocol]
        auth_key = auth(auth.get_master_key(usm.auth_key.get_secret_value().encode()), KeyType.Master)
        if usm.privacy_protocol is None:
            return User(usm.user, auth_key=auth_key)
        master = auth.get_master_key(usm.privacy_key.get_secret_value().encode())
        return User(usm.user, auth_key=auth_key, priv_key=_PRIVACY[usm.privacy_protocol](master, KeyType.Master))
