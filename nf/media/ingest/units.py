"""How a received contribution becomes a unit of the supervisor, and how a unit is read back as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec
from nf.media.documents import IngestSource

MODULE = "nf.media.ingest.process"
UNIT_PREFIX = "ingest-"
_READY_TIMEOUT_S = 30.0


def unit_name(source: str) -> str:
    return UNIT_PREFIX + source


def directory(run_dir: Path) -> Path:
    return run_dir / "ingest"


def status_socket(run_dir: Path, source: str) -> Path:
    return directory(run_dir) / f"{source}.sock"


def unit_spec(source: IngestSource, run_dir: Path) -> UnitSpec:
    """Ready when the status socket answers: its ports are had then."""
    status = str(status_socket(run_dir, source.source))
    options = {
        "--source": source.source,
        "--type": source.type,
        "--port": str(source.port),
        "--arrival": str(source.arrival or 0),
        "--peer": source.peer or "",
        "--latency-ms": str(source.latency_ms),
        "--backup-port": str(source.backup_port or 0),
        "--detect-ms": str(source.detect_ms),
        "--failback-ms": str(source.failback_ms or 0),
        "--status": status,
    }
    return UnitSpec(
        name=unit_name(source.source),
        argv=(sys.executable, "-m", MODULE, *(text for option in options.items() for text in option)),
        ready=Readiness(ReadyKind.UNIX_SOCKET, status, _READY_TIMEOUT_S),
        backoff_last_s=2.0,
        stop_timeout_s=3.0,
        sandbox=Sandbox(families=("AF_INET", "AF_UNIX"), writable=(directory(run_dir),)),
    )


def source_of(spec: UnitSpec) -> IngestSource | None:
    """What a unit was started for; None when the unit is none of ours."""
    if not spec.name.startswith(UNIT_PREFIX) or MODULE not in spec.argv:
        return None
    given = spec.argv[spec.argv.index(MODULE) + 1 :]
    options = dict(zip(given[::2], given[1::2], strict=False))
    try:
        return IngestSource.model_validate(
            {
                "source": options["--source"],
                "type": options["--type"],
                "port": int(options["--port"]),
                "arrival": int(options["--arrival"]) or None,
                "peer": options["--peer"] or None,
                "latency_ms": int(options["--latency-ms"]),
                "backup_port": int(options["--backup-port"]) or None,
                "detect_ms": int(options["--detect-ms"]),
                "failback_ms": int(options["--failback-ms"]) or None,
            }
        )
    except (KeyError, ValueError):
        return None


def same_arguments(source: IngestSource, told: dict[str, Any]) -> bool:
    """Whether a running process says that it is for `source`."""
    return told == {
        "source": source.source,
        "type": source.type,
        "port": source.port,
        "arrival": source.arrival or 0,
        "peer": source.peer or "",
        "latency_ms": source.latency_ms,
        "backup_port": source.backup_port or 0,
        "detect_ms": source.detect_ms,
        "failback_ms": source.failback_ms or 0,
    }
