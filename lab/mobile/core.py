"""What a gNB's user plane needs of a 5G core, whether the SMF model is asked or an AMF over N2."""

from __future__ import annotations

from typing import Any, Protocol


class CoreError(Exception):
    """The core refuses, or is not there."""


class Core(Protocol):
    """Sessions are told as the SMF model tells them: `id`, `supi`, `ue_ips`, `upf`, `gnb`, `qfi`, `paged`.

    Everything raises CoreError.
    """

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A session of `supi` for `dnn`, with its tunnel at `gnb`."""
        ...

    def sessions(self) -> list[dict[str, Any]]: ...

    def idle(self, key: str) -> None: ...

    def gnb(self, key: str, act: str, end: dict[str, Any]) -> None:
        """`act`: active or handover, with the tunnel `end`."""
        ...

    def delete(self, key: str) -> None: ...
