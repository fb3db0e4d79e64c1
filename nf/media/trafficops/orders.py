"""A purge as content invalidation job. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from nf.media.purge.urls import Url
from nf.media.trafficops.client import Order
from nf.media.trafficops.model import Invalidation

_AHEAD_S = 5
"""A job begins in the future, also by a clock that is a little ahead of ours."""


def order_of(url: Url, delivery_service: str, invalidation: Invalidation, ttl_hours: int, now: float) -> Order:
    """`url`: an object; what ends in a slash, or has no name, is all below it. `now`: seconds since the epoch.

    The regular expression is of the path as our edges have it: `/CHANNEL/NAME`.
    """
    path = re.escape(f"/{url.channel}/{url.name}")
    start = datetime.fromtimestamp(now, UTC).replace(microsecond=0) + timedelta(seconds=_AHEAD_S)
    regex = f"{path}.*" if url.name.endswith("/") or not url.name else path
    return Order(delivery_service, regex, invalidation, start.strftime("%Y-%m-%dT%H:%M:%SZ"), ttl_hours)
