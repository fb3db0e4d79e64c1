"""The renditions that a channel is encoded into."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from nf.documents.model import DocumentModel, Name, RuleError, Whole
from nf.documents.quantities import BitRate

SOUND = "audio"
"""The rendition of the sound, which is never encoded."""

_TAKEN = frozenset({SOUND, "master", "manifest"})
"""Names of objects of every channel, which a rendition would lie upon."""
_MOST = 8
_REFERENCE = "{id: hd, height: 720, bitrate: 3M}"


class Rung(DocumentModel):
    """A video rendition: H.264 (ISO/IEC 14496-10) of `height` lines, the width as the source's shape wants.

    id       its name: of its directory, its playlist and its tag, `CHANNEL/ID`
    bitrate  what the encoder keeps within each second
    """

    id: Name
    height: Annotated[Whole, Field(ge=64, le=4320, multiple_of=2)]
    bitrate_bps: BitRate = Field(alias="bitrate")


def check_ladder(ladder: Sequence[Rung]) -> None:
    """The best first, as players are told them. Raises RuleError."""
    if not ladder:
        raise RuleError(
            "a ladder without a rendition shows no picture", f"add one such as {_REFERENCE}, or remove the ladder"
        )
    if len(ladder) > _MOST:
        raise RuleError(f"a ladder has {_MOST} renditions at most", "remove those that players seldom choose")
    names = [rung.id for rung in ladder]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RuleError(f"two renditions of the ladder are called {', '.join(twice)}", "give each an id of its own")
    taken = sorted(_TAKEN & set(names))
    if taken:
        raise RuleError(f"{', '.join(taken)} is a name of other objects of the channel", "call it hd, or v720")
    for better, worse in pairwise(ladder):
        if worse.bitrate_bps >= better.bitrate_bps or worse.height > better.height:
            raise RuleError(
                f"a ladder goes down, and {worse.id} is no step down from {better.id}",
                "write the best rendition first; each next has a lower bitrate and no greater height",
            )
