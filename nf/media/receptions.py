"""How receivers take the paths of type `cdn` (entry point `nf.receptions`)."""

from __future__ import annotations

from collections.abc import Iterator

from nf.contracts.reception import Adaptive, Reception
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.media.documents import DASH_MANIFEST, HLS_MANIFEST, CdnPath


def receptions(lineup: LineUp, fleet: Fleet) -> Iterator[Reception]:  # noqa: ARG001 - the contract's
    """Wherever somebody is: the host of a path is the same for all."""
    for channel in lineup.spec.channels:
        for path in channel.delivery:
            if isinstance(path, CdnPath):
                base = f"//{path.host}/{channel.id}/"
                way = Adaptive(base + HLS_MANIFEST, base + DASH_MANIFEST, path.rate_bps)
                yield Reception(channel.id, path.id, "", way)
