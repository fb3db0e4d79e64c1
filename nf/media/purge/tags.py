"""Tags, by which a purge names several objects: CHANNEL, CHANNEL/RENDITION, CHANNEL:KIND, CHANNEL/RENDITION:KIND.

Nobody writes tags down: they follow from an object's name. A rendition is the directory that the packager gives it; the
playlist RENDITION.m3u8 beside the directory is the rendition's too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nf.documents.model import RuleError

CHANNEL: Final = r"[a-z][a-z0-9-]{0,38}"
RENDITION: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PLAYLIST: Final = ".m3u8"
MANIFESTS: Final = (PLAYLIST, ".mpd")
INIT: Final = "init"
"""The name of an initialization segment begins with it."""

_TAG = re.compile(rf"({CHANNEL})(?:/({RENDITION}))?(?::([a-z]+))?")
_MASTERS = ("master", "manifest")


class Kind(StrEnum):
    MANIFEST = "manifest"
    INIT = "init"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Tag:
    channel: str
    rendition: str = ""
    kind: Kind | None = None

    def __str__(self) -> str:
        rendition = f"/{self.rendition}" if self.rendition else ""
        return f"{self.channel}{rendition}" + (f":{self.kind}" if self.kind else "")

    @property
    def whole(self) -> bool:
        """All of the channel."""
        return not self.rendition and self.kind is None

    def holds(self, name: str) -> bool:
        """Whether the object `name` of the channel has it."""
        return (not self.rendition or rendition_of(name) == self.rendition) and self.kind in {None, kind_of(name)}


def parse_tag(text: str) -> Tag:
    """Raises RuleError."""
    found = _TAG.fullmatch(text)
    kinds = ", ".join(Kind)
    if found is None or (found[3] is not None and found[3] not in set(Kind)):
        raise RuleError(
            "a tag is CHANNEL[/RENDITION][:KIND]", f"write it as ch1, ch1/video or ch1:segment; kinds: {kinds}"
        )
    return Tag(found[1], found[2] or "", Kind(found[3]) if found[3] else None)


def plain_channel(text: str) -> str:
    """Raises RuleError."""
    if re.fullmatch(CHANNEL, text) is None:
        raise RuleError("this is no channel's id", "name it as the line-up does, such as ch1")
    return text


def rendition_of(name: str) -> str:
    """Empty: it belongs to no rendition."""
    directory, separator, _ = name.partition("/")
    if separator:
        return directory
    stem = name.removesuffix(PLAYLIST)
    return stem if stem != name and stem not in _MASTERS else ""


def kind_of(name: str) -> Kind:
    if name.endswith(MANIFESTS):
        return Kind.MANIFEST
    return Kind.INIT if name.rpartition("/")[2].startswith(INIT) else Kind.SEGMENT
