"""Operations of the driver: what the proxy steers, why a UE's traffic goes where it goes, traffic steered on request.

Arguments and results are those of every steering mechanism.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core5g.pfcp.proxy.units import ask, status_socket
from nf.contracts.driver import Checkpoint, Context, Operation
from nf.contracts.json import JsonObject
from nf.errors import InputError, UnavailableError

STEER_LIST, STEER_EXPLAIN, INFLUENCE = "steer-list", "steer-explain", "influence"


class _Asked:
    """One command to the running proxy, with the arguments that it takes. A repetition changes nothing."""

    def __init__(self, run_dir: Path, command: str, keys: tuple[str, ...], required: tuple[str, ...] = ()) -> None:
        self._socket = status_socket(run_dir)
        self._command, self._keys, self._required = command, keys, required

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002
        """Raises InputError for arguments that it does not take, UnavailableError when the proxy does not answer."""
        for key in self._required:
            if not isinstance(arguments.get(key), str) or not arguments[key]:
                raise InputError(f"`{key}` is missing", where=self._command, remedy=f"say which {key} is meant")
        given = {key: arguments[key] for key in self._keys if key in arguments}
        answer = await ask(self._socket, {"command": self._command, **given}, timeout_s=10.0)
        if answer is None:
            raise UnavailableError("the PFCP proxy does not answer", where=self._command, remedy="see its unit")
        if "error" in answer:
            raise InputError(str(answer["error"]), where=self._command, remedy="correct the arguments")
        return {key: value for key, value in answer.items() if key not in {"version", "pid"}}


def operations(run_dir: Path) -> Mapping[str, Operation]:
    return {
        STEER_LIST: _Asked(run_dir, "list", ()),
        STEER_EXPLAIN: _Asked(run_dir, "explain", ("ue", "destination"), ("ue", "destination")),
        INFLUENCE: _Asked(run_dir, "influence", ("id", "action", "prefixes", "ues", "ports"), ("id", "action")),
    }
