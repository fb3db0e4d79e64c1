"""How a packaged channel becomes a unit of the supervisor, and how a unit is read back as a channel."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from nf.contracts.json import canonical
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.documents.quantities import format_duration
from nf.media.documents import PackagerChannel

MODULE = "nf.media.packager.uploader"
UNIT_PREFIX = "packager-"
_FACTS_VARIABLE = "NF_FACTS"
_READY_TIMEOUT_S = 30.0


def key(channel: PackagerChannel) -> str:
    """How people call it: `ch1/ott`."""
    return f"{channel.channel}/{channel.path}"


def unit_name(channel: PackagerChannel) -> str:
    """`packager-ch1-ott`; a dot parts the two names where a hyphen in one of them would leave that open."""
    parts = (channel.channel, channel.path)
    return UNIT_PREFIX + ("." if any("-" in part for part in parts) else "-").join(parts)


def directory(run_dir: Path) -> Path:
    return run_dir / "packager"


def status_socket(run_dir: Path, name: str) -> Path:
    return directory(run_dir) / f"{name}.sock"


def unit_spec(channel: PackagerChannel, run_dir: Path, secrets: Path) -> UnitSpec:
    """Ready when the status socket answers. The facts it stands for travel with it; the credentials do not."""
    name = unit_name(channel)
    status = str(status_socket(run_dir, name))
    options = {
        "--channel": channel.channel,
        "--path": channel.path,
        "--port": str(channel.contribution_port),
        "--rate": str(channel.rate_bps),
        "--endpoint": channel.endpoint,
        "--bucket": channel.bucket,
        "--credentials": channel.credentials,
        "--segment-ms": str(channel.segment_ms),
        "--window-ms": str(channel.window_ms),
        "--directory": str(directory(run_dir) / name),
        "--status": status,
        "--secrets": str(secrets),
    }
    if channel.ladder is not None:
        options["--ladder"] = canonical([rung.to_json() for rung in channel.ladder])
    if channel.cues:
        options["--cues"] = "yes"
    if channel.steering is not None:
        options["--steering"] = canonical(channel.steering.to_json())
    if channel.protection is not None:
        options |= {"--protection": json.dumps(channel.protection.to_json(), sort_keys=True)}
    facts = json.dumps({"requires": list(channel.requires), "provides": list(channel.provides)})
    return UnitSpec(
        name=name,
        argv=(sys.executable, "-m", MODULE, *(text for option in options.items() for text in option)),
        environment=((_FACTS_VARIABLE, facts),),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, _READY_TIMEOUT_S),
        backoff_last_s=4.0,
        stop_timeout_s=4.0,
        sandbox=Sandbox(
            families=("AF_INET", "AF_INET6", "AF_UNIX"),
            writable=(directory(run_dir),),
            readable=(secrets, *_key_files(channel)),
        ),
    )


def _key_files(channel: PackagerChannel) -> tuple[Path, ...]:
    reference = "" if channel.protection is None else channel.protection.reference
    scheme, _, rest = reference.partition(":")
    return (Path(rest),) if scheme == "file" else ()


def channel_of(spec: UnitSpec) -> PackagerChannel | None:
    """The channel that a unit was started for; None when the unit is none of ours."""
    if not spec.name.startswith(UNIT_PREFIX) or MODULE not in spec.argv:
        return None
    options = _options(spec.argv[spec.argv.index(MODULE) + 1 :])
    try:
        facts = json.loads(dict(spec.environment).get(_FACTS_VARIABLE, "{}"))
        return PackagerChannel.model_validate(
            {
                "channel": options["--channel"],
                "path": options["--path"],
                "contribution_port": int(options["--port"]),
                "rate": int(options["--rate"]),
                "endpoint": options["--endpoint"],
                "bucket": options["--bucket"],
                "credentials": options["--credentials"],
                "segment": format_duration(int(options["--segment-ms"])),
                "window": format_duration(int(options["--window-ms"])),
                "ladder": json.loads(options.get("--ladder", "null")),
                "cues": "--cues" in options,
                "steering": json.loads(options.get("--steering", "null")),
                "protection": json.loads(options["--protection"]) if "--protection" in options else None,
                **facts,
            }
        )
    except (KeyError, ValueError):
        return None


def _options(arguments: Sequence[str]) -> dict[str, str]:
    return dict(zip(arguments[::2], arguments[1::2], strict=False))
