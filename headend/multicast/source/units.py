"""How a source stage becomes a unit of the supervisor, and how a unit is read back as a source stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from headend.multicast.documents import Flow as FlowDocument
from headend.multicast.documents import SourceStage
from headend.multicast.source.flow import Target
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec

MODULE = "headend.multicast.source.stage"
UNIT_PREFIX = "source-"
_PROVIDES_VARIABLE = "NF_PROVIDES"
_READY_TIMEOUT_S = 30.0


def key(stage: SourceStage) -> str:
    """How people call it: `ch1/iptv`; of a path with two encoders `ch1/iptv/a`."""
    return "/".join(filter(None, (stage.channel, stage.path, stage.leg)))


def unit_name(stage: SourceStage) -> str:
    """`source-ch1-iptv`; dots part the names where a hyphen in one of them, or a leg, would leave that open."""
    parts = tuple(filter(None, (stage.channel, stage.path, stage.leg)))
    dotted = stage.leg is not None or any("-" in part for part in parts)
    return UNIT_PREFIX + ("." if dotted else "-").join(parts)


def status_socket(run_dir: Path, name: str) -> Path:
    return run_dir / "source" / f"{name}.sock"


def second_of(stage: SourceStage) -> str:
    """Where it sends the same as well, in the words of the command line; "" for nowhere."""
    second = stage.second
    return "" if second is None else str(Target(second.source, second.group, second.port))


def unit_spec(stage: SourceStage, run_dir: Path) -> UnitSpec:
    """Ready when the status socket answers, which the stage opens last. The facts it stands for travel with it."""
    name = unit_name(stage)
    status = str(status_socket(run_dir, name))
    options = {
        "--channel": stage.channel,
        "--path": stage.path,
        "--listen": f"0.0.0.0:{stage.contribution_port}",
        "--source": str(stage.source),
        "--group": str(stage.group),
        "--port": str(stage.port),
        "--rate": str(stage.rate_bps),
        "--status": status,
    }
    options |= {"--leg": stage.leg} if stage.leg is not None else {}
    options |= {"--dscp": str(stage.dscp)} if stage.dscp else {}
    options |= {"--encapsulation": stage.encapsulation} if stage.encapsulation != "ts" else {}
    options |= {"--second": second_of(stage)} if stage.second is not None else {}
    return UnitSpec(
        name=name,
        argv=(sys.executable, "-m", MODULE, *(text for option in options.items() for text in option)),
        environment=((_PROVIDES_VARIABLE, json.dumps(list(stage.provides))),),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, _READY_TIMEOUT_S),
        backoff_last_s=2.0,
        stop_timeout_s=2.0,
        sandbox=Sandbox(families=("AF_INET", "AF_UNIX"), writable=(run_dir / "source",)),
    )


def stage_of(spec: UnitSpec) -> SourceStage | None:
    """The stage that a unit was started for; None when the unit is none of ours."""
    if not spec.name.startswith(UNIT_PREFIX) or MODULE not in spec.argv:
        return None
    options = _options(spec.argv[spec.argv.index(MODULE) + 1 :])
    try:
        return SourceStage(
            channel=options["--channel"],
            path=options["--path"],
            leg=options.get("--leg"),
            contribution_port=int(options["--listen"].rpartition(":")[2]),
            source=options["--source"],
            group=options["--group"],
            port=int(options["--port"]),
            rate_bps=int(options["--rate"]),
            dscp=int(options.get("--dscp", "0")),
            encapsulation=options.get("--encapsulation", "ts"),
            second=_second(options.get("--second")),
            provides=tuple(json.loads(dict(spec.environment).get(_PROVIDES_VARIABLE, "[]"))),
        )
    except (KeyError, ValueError):
        return None


def _second(text: str | None) -> FlowDocument | None:
    if text is None:
        return None
    target = Target.of(text)
    return FlowDocument(source=target.source, group=target.group, port=target.port)


def _options(arguments: Sequence[str]) -> dict[str, str]:
    return dict(zip(arguments[::2], arguments[1::2], strict=False))
