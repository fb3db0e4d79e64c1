"""What of a value may be shown: never anything that could be a key, in whichever column it was put by mistake."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final

REMOVED: Final = "[removed]"

_LONGEST = 60
_SUSPICIOUS_LENGTH = 20  # an IMSI has 15 digits, an IMEISV 16; a key has 32
_SHARE_OF_DIGITS = 0.75
_SEPARATORS = re.compile(r"[\s:_-]")
_WORD = re.compile(r"[0-9A-Za-z]{20,}")


def shown(value: object) -> str:
    """As it is, at most 60 characters; nothing for lists and mappings; `[removed]` for what is like a key."""
    if isinstance(value, dict | list | tuple) or value is None:
        return ""
    text = str(value)
    if like_a_key(text):
        return REMOVED
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def like_a_key(text: str) -> bool:
    """Also when it is cut short, has separators, or a digit that was misread. An IPv6 address in full is like one."""
    if "::" in text:
        with suppress(ValueError):
            ipaddress.IPv6Interface(text.strip())
            return False
    for word in _WORD.findall(_SEPARATORS.sub("", text)):
        digits = sum(letter in "0123456789abcdefABCDEF" for letter in word)
        if len(word) >= _SUSPICIOUS_LENGTH and digits >= _SHARE_OF_DIGITS * len(word):
            return True
    return False
