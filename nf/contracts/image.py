"""The image contract: the system that an appliance runs from, and how another one takes its place.

An image is no network function: it has no section in a line-up, and a change of it outlives the process that began it.
So it is no driver. At most one manager is installed (group `nf.image`); the agent hosts it, and lends it what only the
agent has: the way to the NOC, and how the appliance does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nf.clock import Clock
from nf.contracts.json import Json
from nf.telemetry.alarms import AlarmEvent

GROUP = "nf.image"


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What the appliance says of its image, at every attach and whenever it changes.

    slot          the one it runs from: "A" or "B"
    good          the boot loader will take this slot again
    update        state of the last update, in a word; empty = there was none
    update_version  the version that it brings; update_id: the upgrade of the NOC that ordered it
    other_version the version in the other slot, as far as it is known
    fell_back     why the last update did not stay; empty since an update was marked good
    fell_back_at  seconds since the epoch
    """

    role: str
    version: str
    compatible: str
    slot: str
    good: bool
    update: str = ""
    update_version: str = ""
    update_id: str = ""
    other_version: str = ""
    fell_back: str = ""
    fell_back_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Signs:
    """How the appliance does, in the agent's eyes.

    attached  it has a session with the NOC
    busy      a transaction that is under way, in words; empty = none
    problems  what is wrong -> a line about it: "driver frr" -> "not converged: ..."
    """

    attached: bool
    busy: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


class BundleSource(Protocol):
    def pieces(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        """The bundle from `offset` (octets) on, by the agent's own identity.

        Raises UnavailableError when the way to the NOC breaks: ask again from where it broke. NotFoundError: the NOC
        does not have it; DeniedError: not for this appliance.
        """


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What the agent lends. `state_dir` survives a boot and a change of slot; `run_dir` neither."""

    appliance: str
    state_dir: Path
    run_dir: Path
    clock: Clock
    bundles: BundleSource
    signs: Callable[[], Awaitable[Signs]]
    alarm: Callable[[AlarmEvent], None]
    changed: Callable[[ImageReport], None]


class ImageManager(Protocol):
    def report(self) -> ImageReport: ...

    async def answer(self, method: str, arguments: Mapping[str, Any]) -> Json:
        """`image.status|fetch|install|activate|cancel|wipe`. Raises the error tree."""

    async def run(self) -> None:
        """Go on with what is open; until cancelled."""


ImageFactory = Callable[[ImageContext], "ImageManager | None"]
"""What an entry point of the group names. None: this machine runs from no image."""
