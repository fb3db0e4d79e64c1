"""Regular expressions of a purge: what both caches read alike, and what is too much. Pure.

They match the path that a player asks for, `/CHANNEL/NAME`. Varnish (PCRE2) and Traffic Server (PCRE) both search each
stored URL for one, so what may take them long, or what they read in different ways, is refused.
"""

from __future__ import annotations

import re
from typing import Final

from nf.documents.model import RuleError
from nf.media.purge.tags import CHANNEL

MAX_LENGTH: Final = 300
_PLAIN = re.compile(r"[!-~]+")
_ANCHOR = re.compile(rf"\^/({CHANNEL})/")
_REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
_GROUP = re.compile(r"(?<!\\)\(\?(?!:)")
_REFERENCE = re.compile(r"\\[1-9gkpPKQEX]")
_ENDS = re.compile(r"(?<!\\)(?:\\\\)*\$$")
_END_INSIDE = re.compile(r"(?<!\\)\$.")
_SAMPLES = ("", "master.m3u8", "audio/init-1.mp4", "video/17.m4s", "q/w.bin")
"""Names of the most different kinds: an expression that takes all of them takes the channel."""


def channel_of_expression(expression: str, *, force: bool = False) -> str:
    """The channel in which it can match; empty when it can in every one. Raises RuleError."""
    _check(expression)
    found = _ANCHOR.match(expression)
    if found is None:
        if force:
            return ""
        raise RuleError(
            "the expression may match in every channel", "begin it with ^/CHANNEL/, or say --force when you mean it"
        )
    if not force and all(re.search(expression, f"/{found[1]}/{name}") for name in _SAMPLES):
        raise RuleError(
            f"the expression takes all of {found[1]}",
            f"purge it by `--all {found[1]}`, which costs less, or say --force",
        )
    return found[1]


def within(expression: str, before: str, bucket: str, channel: str, end: str = "$") -> str:
    """The same for a cache that knows `/CHANNEL/NAME` as `before/BUCKET/CHANNEL/NAME`, and for that channel alone.

    `before`, `end`: expressions of what comes before the path, and of where it ends.
    """
    anchored = expression.startswith("^")
    body = expression.removeprefix("^")
    if _ENDS.search(body):
        body = body.removesuffix("$") + end
    return f"^{before}/{re.escape(bucket)}(?=/{channel}/){'' if anchored else '.*'}(?:{body})"


def _check(expression: str) -> None:
    if len(expression) > MAX_LENGTH:
        raise RuleError(
            f"the expression has more than {MAX_LENGTH} characters", "purge by tag, or by several shorter ones"
        )
    if _PLAIN.fullmatch(expression) is None or '"' in expression:
        raise RuleError("the expression has characters that no URL has", "write it in printable ASCII, without spaces")
    if "|" in expression and expression.startswith("^") and _outer_bar(expression):
        raise RuleError("^ holds for the first alternative only", "put the alternatives into a group: ^/ch1/(a|b)")
    if _GROUP.search(expression) or _REFERENCE.search(expression):
        raise RuleError("looking around and back is not for caches", "use classes, groups and alternatives")
    if _END_INSIDE.search(expression):
        raise RuleError("$ stands at the end only", "put what ends differently into several purges")
    if _REPEATED_GROUP.search(expression):
        raise RuleError("a repeated group can take a cache too long", "repeat a character or a class instead")
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise RuleError(f"this is no regular expression: {error}", "mend it") from None


def _outer_bar(expression: str) -> bool:
    depth, in_class, escaped = 0, False, False
    for character in expression:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            return True
    return False
