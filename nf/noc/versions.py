"""Which of two image versions is the later one: Debian's order, with pre-releases as SemVer writes them. Pure.

Debian Policy 5.6.12: parts of non-digits and of digits in turn; letters before other signs, `~` before everything, also
before the end. SemVer 2.0.0 (11) writes a pre-release with a hyphen behind three numbers, and it comes before its
release: that hyphen counts as `~`. Build metadata behind `+` counts, as Debian has it: 0.2.0+1 is later than 0.2.0.
"""

from __future__ import annotations

import re
from typing import Final

_PRE_RELEASE: Final = re.compile(r"^(\d+\.\d+\.\d+)-(?=[0-9A-Za-z])")
_PART: Final = re.compile(r"([^0-9]*)([0-9]*)")


def compare(one: str, other: str) -> int:
    """Negative: `one` is the earlier one; 0: they are the same version; positive: the later one."""
    mine, theirs = _PRE_RELEASE.sub(r"\1~", one), _PRE_RELEASE.sub(r"\1~", other)
    a, b = 0, 0
    while a < len(mine) or b < len(theirs):
        left, right = _PART.match(mine, a), _PART.match(theirs, b)
        assert left is not None  # noqa: S101 - the pattern matches everywhere, also nothing
        assert right is not None  # noqa: S101
        signs = _signs(left[1], right[1])
        if signs:
            return signs
        numbers = int(left[2] or 0) - int(right[2] or 0)
        if numbers:
            return numbers
        a, b = left.end(), right.end()
    return 0


def _signs(left: str, right: str) -> int:
    for index in range(max(len(left), len(right))):
        mine = _rank(left[index : index + 1])
        theirs = _rank(right[index : index + 1])
        if mine != theirs:
            return mine - theirs
    return 0


def _rank(sign: str) -> int:
    if sign == "~":
        return -1
    if not sign:
        return 0
    return ord(sign) if sign.isalpha() else ord(sign) + 0x110000
