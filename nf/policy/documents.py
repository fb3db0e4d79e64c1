"""The line-up's words for the policy, as the engine's."""

from __future__ import annotations

from collections.abc import Sequence

from nf.documents.lineup import Channel, DeliveryPath, Failover
from nf.policy.model import Approve, Rules


def rules_of(failover: Failover) -> Rules:
    return Rules(
        detect_s=failover.detect_ms / 1000,
        hold_down_s=failover.hold_down_ms / 1000,
        max_per_hour=failover.max_per_hour,
        failback_after_s=failover.failback.after_ms / 1000,
        failback_approve=Approve(failover.failback.approve),
        allow_clear=failover.allow_clear,
    )


def preferred(paths: Sequence[DeliveryPath], failover: Failover) -> tuple[DeliveryPath, ...]:
    """The paths, the one to take first before the others."""
    return tuple(sorted(paths, key=lambda path: (_named(path, failover), path.priority)))


def _named(path: DeliveryPath, failover: Failover) -> int:
    """A path by its own name before its type."""
    for word in (path.id, path.type):
        if word in failover.prefer:
            return failover.prefer.index(word)
    return len(failover.prefer)


def fallback_of(path: DeliveryPath) -> str:
    """The path that an appliance takes by itself in place of this one; "" when it takes none."""
    found = getattr(path, "fallback", None)
    return found if isinstance(found, str) else ""


def cycle(channel: Channel) -> tuple[str, ...]:
    """Paths that are each other's fallback in a ring, such as (a, b, a); empty when there are none."""
    follows = {path.id: fallback_of(path) for path in channel.delivery}
    for start in follows:
        seen = [start]
        while (after := follows.get(seen[-1], "")) and after not in seen:
            seen.append(after)
        if after == start:
            return (*seen, start)
    return ()
