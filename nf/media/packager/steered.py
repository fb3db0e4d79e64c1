"""Content steering in the manifests of a channel: what Shaka wrote, with a pathway for each site. Pure.

HLS: RFC 8216bis sections 4.4.6.6 and 4.4.6.2 (`EXT-X-CONTENT-STEERING`, `PATHWAY-ID`); the renditions of a pathway are
in groups of its own. DASH: ETSI TS 103 998 (`ContentSteering`, `BaseURL@serviceLocation`).

The first pathway keeps its relative references, so that it is the host which a player was given: there it begins, and
stays when no steering server answers. The others are network-path references, since the scheme is the player's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from nf.media.documents import MAX_LISTED, SHARED_PATHWAY, Pathways, pathway_host

_GROUP = re.compile(r'((?:GROUP-ID|AUDIO|SUBTITLES|VIDEO)=")([^"]*)(")')
_URI = re.compile(r'(URI=")([^"]*)(")')
_ROOT = re.compile(r"<MPD\b[^>]*>")
_AFTER_BASES = re.compile(
    r"<(?:ServiceDescription|InitializationSet|InitializationGroup|InitializationPresentation|Period)\b"
)
_RENDITION = "#EXT-X-MEDIA:"
_VARIANT = ("#EXT-X-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:")


def steering_uri(server: str, form: str, channel: str, path: str) -> str:
    """Where the steering manifests of a path are. `form`: hls or dash."""
    return f"{server}/steering/v1/{form}/{channel}?path={path}"


class Steered:
    """Puts the pathways of a channel into its manifests. A manifest that has steering already stays as it is."""

    def __init__(self, channel: str, path: str, pathways: Pathways) -> None:
        self._channel = channel
        self._path = path
        self._pathways = pathways

    def _base(self, site: str) -> str:
        return f"//{pathway_host(self._pathways.host, site)}/{self._channel}/"

    def _server(self, form: str) -> str:
        return steering_uri(self._pathways.server, form, self._channel, self._path)

    # ---- HLS ----

    def multivariant(self, text: str) -> str:
        """The multivariant playlist, its variants once for each pathway, and the shared one first."""
        head, body = _parted(text.splitlines())
        if any("EXT-X-CONTENT-STEERING" in line for line in head):
            return text
        steering = f'#EXT-X-CONTENT-STEERING:SERVER-URI="{self._server("hls")}",PATHWAY-ID="{SHARED_PATHWAY}"'
        lines = [*head, steering, *self._pathway(body, SHARED_PATHWAY, "")]
        for site in self._pathways.sites[:MAX_LISTED]:
            lines += self._pathway(body, site, self._base(site))
        return "\n".join(lines) + "\n"

    def _pathway(self, body: list[str], pathway: str, base: str) -> Iterator[str]:
        suffix = "" if pathway == SHARED_PATHWAY else f"@{pathway}"
        for line in body:
            if line.startswith((_RENDITION, *_VARIANT)):
                here = _URI.sub(lambda found: found[1] + base + found[2] + found[3], line)
                here = _GROUP.sub(lambda found: found[1] + found[2] + suffix + found[3], here)
                yield f'{here},PATHWAY-ID="{pathway}"' if line.startswith(_VARIANT) else here
            else:
                yield base + line

    # ---- DASH ----

    def presentation(self, text: str) -> str:
        """The MPD, with a BaseURL for each pathway, and the shared one first. What cannot be read stays as it is."""
        root = _ROOT.search(text)
        if root is None or root[0].endswith("/>") or "<ContentSteering" in text or "<BaseURL" in text:
            return text
        place = _AFTER_BASES.search(text, root.end())
        if place is None:
            return text
        bases = [(SHARED_PATHWAY, "./"), *((site, self._base(site)) for site in self._pathways.sites)]
        made = "".join(
            f"<BaseURL serviceLocation={quoteattr(name)}>{escape(base)}</BaseURL>\n  " for name, base in bases
        )
        server = escape(self._server("dash"))
        made += (
            f"<ContentSteering defaultServiceLocation={quoteattr(SHARED_PATHWAY)} "
            f'queryBeforeStart="false">{server}</ContentSteering>\n  '
        )
        return text[: place.start()] + made + text[place.start() :]


def _parted(lines: list[str]) -> tuple[list[str], list[str]]:
    """What holds for the whole playlist; and renditions, variants and their URIs. Empty lines and comments go."""
    head: list[str] = []
    body: list[str] = []
    for line in filter(None, (line.strip() for line in lines)):
        tag = line.startswith("#EXT")
        if line.startswith((_RENDITION, *_VARIANT)) or not line.startswith("#"):
            body.append(line)
        elif tag:
            head.append(line)
    return head, body
