"""Taking secrets out of text that leaves the house: what looks like one goes, and what is known to be one goes.

The last of two walls: what is collected leaves secrets out by itself; this finds what was written where it should not
have been (a password in a log line, a key in a configuration file).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from nf.contracts.json import Json

REMOVED: Final = "[removed]"
_SHORTEST_KNOWN: Final = 6

_WORDS = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|key[_-]?pem|credential|"
    r"authorization|auth[_-]?key|psk|community|session[_-]?key|signing[_-]?key|cookie|sasl"
)
_SECRET_KEY = re.compile(rf"(?:{_WORDS})", re.IGNORECASE)
_NOT_SECRET = re.compile(r"(?:sha256|fingerprint|expires?|_at|_ref|_count|ttl|_s)$", re.IGNORECASE)

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_PAIR = re.compile(
    rf"""(?P<key>["']?[\w.-]*(?:{_WORDS})[\w.-]*["']?(?:\\?["'])?\s*(?:=>|[:=])\s*)"""
    r"""(?P<value>\\"[^"\\\n]*\\"|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|(?:(?:Bearer|Basic|Digest)\s+)?[^\s,;&}\]"']+)""",
    re.IGNORECASE,
)
_OPTION = re.compile(
    rf"(?P<key>--?[\w-]*(?:{_WORDS})[\w-]*\s+)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)", re.IGNORECASE
)
_QUOTED = re.compile(
    rf"(?P<key>\b[\w-]*(?:{_WORDS})[\w-]*\s+(?:is\s+)?)(?P<value>\"[^\"\n]+\"|'[^'\n]+')", re.IGNORECASE
)
_BEARER = re.compile(r"\b(?P<key>Bearer|Basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{6,})", re.IGNORECASE)
_URL = re.compile(r"(?P<key>\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)(?P<value>[^\s@]+)(?=@)", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # access key ids of S3
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web tokens, RFC 7519
    r"|(?<![\w-])(?=[\w-]{43}(?![\w-]))(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{43}"  # 256 bits, base64url
)


class Scrubber:
    """`known`: values that are secrets, wherever they stand; short ones are not looked for."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = sorted({value for value in known if len(value) >= _SHORTEST_KNOWN}, key=len, reverse=True)
        spelled = {spelling for value in found for spelling in _spellings(value)}
        ordered = sorted(spelled, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` with every secret replaced by `[removed]`. Scrubbing twice is scrubbing once."""
        if self._known is not None:
            text = self._known.sub(REMOVED, text)
        text = _PEM.sub(REMOVED, text)
        text = _SHAPES.sub(REMOVED, text)
        for pattern in (_PAIR, _OPTION, _QUOTED):
            text = pattern.sub(_keep_key, text)
        text = _URL.sub(_keep_key, text)
        return _BEARER.sub(lambda found: f"{found['key']} {REMOVED}", text)

    def json(self, value: Json, key: str = "") -> Json:
        """The same for a JSON value: what stands under a secret's name goes whole."""
        if key and is_secret_name(key) and value not in (None, "", True, False):
            return REMOVED
        if isinstance(value, dict):
            return {self.text(name): self.json(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.json(inner, key) for inner in value]
        return self.text(value) if isinstance(value, str) else value


def _spellings(value: str) -> tuple[str, ...]:
    """As it is, inside JSON, and in Base64."""
    data = value.encode("utf-8", "surrogatepass")
    return value, json.dumps(value)[1:-1], base64.b64encode(data).decode().rstrip("=")


def _keep_key(found: re.Match[str]) -> str:
    name = found["key"].strip().strip("\"'\\:=> -")
    value = found["value"]
    if REMOVED in value or value == REMOVED.rstrip("]") or _NOT_SECRET.search(name):
        return found[0]
    quote = '\\"' if value.startswith('\\"') else value[0] if value[0] in "\"'" else ""
    return f"{found['key']}{quote}{REMOVED}{quote}"


def is_secret_name(name: str) -> bool:
    """Whether something of this name (a key, a variable, an option) is taken for a secret."""
    return bool(_SECRET_KEY.search(name)) and not _NOT_SECRET.search(name)


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The values of variables whose names say that they are secrets."""
    return frozenset(value for name, value in environment.items() if value and is_secret_name(name))
