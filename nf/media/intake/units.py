"""How an intake becomes a unit of the supervisor, and how a unit is read back as a channel."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.documents.quantities import format_duration
from nf.media.documents import IntakeChannel

MODULE = "nf.media.intake"
UNIT_PREFIX = "stream-intake-"
_FACTS_VARIABLE = "NF_FACTS"
_READY_TIMEOUT_S = 30.0


def key(channel: IntakeChannel) -> str:
    """How people call it: `ch1/ott`."""
    return f"{channel.channel}/{channel.path}"


def unit_name(channel: IntakeChannel) -> str:
    """`stream-intake-ch1-ott`; a dot parts the two names where a hyphen in one of them would leave that open."""
    parts = (channel.channel, channel.path)
    return UNIT_PREFIX + ("." if any("-" in part for part in parts) else "-").join(parts)


def directory(run_dir: Path) -> Path:
    return run_dir / "stream-intake"


def status_socket(run_dir: Path, name: str) -> Path:
    return directory(run_dir) / f"{name}.sock"


def outputs_of(channel: IntakeChannel) -> list[str]:
    return [f"{output.taker}={output.address}:{output.port}" for output in channel.outputs]


def unit_spec(channel: IntakeChannel, run_dir: Path) -> UnitSpec:
    """Ready when the status socket answers. The facts that it waits for travel with it."""
    name = unit_name(channel)
    status = str(status_socket(run_dir, name))
    options = {
        "--channel": channel.channel,
        "--path": channel.path,
        "--url": channel.url,
        "--host": channel.host,
        "--segment-ms": str(channel.segment_ms),
        "--outputs": ",".join(outputs_of(channel)),
        "--status": status,
    }
    return UnitSpec(
        name=name,
        argv=(sys.executable, "-m", MODULE, *(text for option in options.items() for text in option)),
        environment=((_FACTS_VARIABLE, json.dumps({"requires": list(channel.requires)})),),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, _READY_TIMEOUT_S),
        backoff_last_s=4.0,
        stop_timeout_s=4.0,
        sandbox=Sandbox(families=("AF_INET", "AF_UNIX"), writable=(directory(run_dir),)),
    )


def channel_of(spec: UnitSpec) -> IntakeChannel | None:
    """The channel that a unit was started for; None when the unit is none of ours."""
    if not spec.name.startswith(UNIT_PREFIX) or MODULE not in spec.argv:
        return None
    given = spec.argv[spec.argv.index(MODULE) + 1 :]
    options = dict(zip(given[::2], given[1::2], strict=False))
    try:
        outputs = []
        for text in options["--outputs"].split(","):
            taker, _, place = text.partition("=")
            address, _, port = place.rpartition(":")
            outputs.append({"taker": taker, "address": address, "port": int(port)})
        return IntakeChannel.model_validate(
            {
                "channel": options["--channel"],
                "path": options["--path"],
                "url": options["--url"],
                "host": options["--host"],
                "segment": format_duration(int(options["--segment-ms"])),
                "outputs": outputs,
                **json.loads(dict(spec.environment).get(_FACTS_VARIABLE, "{}")),
            }
        )
    except (KeyError, ValueError):
        return None
