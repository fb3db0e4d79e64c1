"""Common Encryption of what is packaged, as the line-up says it."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from nf.documents.model import DocumentModel, Form, RuleError
from nf.media.documents.fields import KeyRef


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    plain = url.isascii() and url.isprintable() and not any(c in url for c in ' "<>\\^`{|}@')
    if not host or not plain or parts.scheme not in {"http", "https"}:
        raise RuleError(
            "a key server is https://HOST[:PORT]/PATH", "write it as https://keys.example/cenc/getcontentkey/me"
        )
    if parts.scheme == "http" and host != "127.0.0.1":
        raise RuleError("what a key server answers are keys, which http shows to everybody on the way", "use https")
    return url


class KeyServer(DocumentModel):
    """Who gives the content keys: a server of the Widevine Common Encryption API, which Shaka asks itself.

    content_id   what the keys are for, as text; signer: by which name the server knows us
    signing_key  AES key that requests are signed with, named; signing_iv: its initialization vector, hexadecimal
    """

    url: Annotated[str, AfterValidator(_server)]
    content_id: Annotated[str, Form(r"[A-Za-z0-9._:/-]{1,100}", "1 to 100 letters, digits and . _ : / -", "write ch1")]
    signer: Annotated[str, Form(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits and . _ -", "write streamverse")]
    signing_key: KeyRef
    signing_iv: Annotated[str, Form(r"[0-9a-fA-F]{32}", "16 octets in hexadecimal", "write 32 hexadecimal digits")]


class Protection(DocumentModel):
    """Common Encryption (ISO/IEC 23001-7) of what is packaged, with one key or with those of a key server.

    key_uri   what players of HLS find in EXT-X-KEY: where a licence is had; absent: the key id, for players that
              know where to ask. With a key server its own signalling says that
    """

    scheme: Literal["cbcs", "cenc"] = "cbcs"
    key: KeyRef | None = None
    key_server: KeyServer | None = None
    key_uri: (
        Annotated[str, Form(r"(https|skd|data):[^\s\"]{1,500}", "a URI of scheme https, skd or data", "")] | None
    ) = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.key is None) == (self.key_server is None):
            raise RuleError("content is encrypted with a key or with those of a key server", "write key or key_server")
        if self.key_server is not None and self.key_uri is not None:
            raise RuleError("a key server's header says where a licence is had", "remove key_uri")
        return self

    @model_validator(mode="after")
    def _no_pin(self) -> Self:
        if "pin-value" in self.reference:
            raise RuleError("a PIN is never written into a document", "name it: pin-source=secret:NAME")
        return self

    @property
    def reference(self) -> str:
        """Of the key that is read on the appliance: the content's own, or that which requests are signed with."""
        return self.key or (self.key_server.signing_key if self.key_server is not None else "")
