"""What looking after devices must remember over a restart: the section that was applied, locks, SNMPv3 engines."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headend.devices.documents import SnmpDevicesSection
from headend.snmp.engine import EngineTime
from headend.snmp.traps import OwnEngine
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError, StorageError

_NAME: Final = "snmp-devices.json"
_ENGINE_FORM: Final = bytes.fromhex("80001f8805")
"""RFC 3411 SnmpEngineID: net-snmp's number, as agents without one of their own use it, and random octets."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The maintenance lock of a redundancy group. `at`: wall-clock seconds."""

    by: str
    reason: str
    at: float


@dataclass(slots=True)
class Memory:
    """One file, replaced as a whole. `section` is None before the first commit. Engines by device."""

    directory: Path
    section: SnmpDevicesSection | None = None
    locks: dict[str, Lock] = field(default_factory=dict)
    engines: dict[str, EngineTime] = field(default_factory=dict)
    own_engine: OwnEngine = field(default_factory=lambda: OwnEngine(_ENGINE_FORM + secrets.token_bytes(8), 0))

    @classmethod
    def load(cls, directory: Path) -> Memory:
        """Raises IntegrityError when the file cannot be understood."""
        path = directory / _NAME
        try:
            return cls._parse(directory, json.loads(path.read_text()))
        except FileNotFoundError:
            return cls(directory)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "remove it: the next commit writes it anew; locks of redundancy groups are open then"
            raise IntegrityError(f"cannot be read: {error}", where=str(path), remedy=remedy) from None

    @classmethod
    def _parse(cls, directory: Path, data: dict[str, Any]) -> Memory:
        section = data["section"]
        return cls(
            directory,
            None if section is None else SnmpDevicesSection.model_validate(section),
            {name: Lock(str(one["by"]), str(one["reason"]), float(one["at"])) for name, one in data["locks"].items()},
            {
                name: EngineTime(bytes.fromhex(one["engine_id"]), int(one["boots"]), int(one["time_s"]))
                for name, one in data["engines"].items()
            },
            OwnEngine(bytes.fromhex(data["own_engine"]["engine_id"]), int(data["own_engine"]["boots"])),
        )

    def start_engine(self) -> OwnEngine:
        """Our engine for a new start: boots are one more (RFC 3414 clause 2.2.2). Raises StorageError."""
        self.own_engine = OwnEngine(self.own_engine.engine_id, self.own_engine.boots + 1)
        self.save()
        return self.own_engine

    def save(self) -> None:
        """Raises StorageError."""
        data: JsonObject = {
            "section": None if self.section is None else self.section.to_json(),
            "locks": {name: {"by": one.by, "reason": one.reason, "at": one.at} for name, one in self.locks.items()},
            "engines": {
                name: {"engine_id": one.engine_id.hex(), "boots": one.boots, "time_s": one.time_s}
                for name, one in self.engines.items()
            },
            "own_engine": {"engine_id": self.own_engine.engine_id.hex(), "boots": self.own_engine.boots},
        }
        path = self.directory / _NAME
        new = path.with_suffix(".new")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(data))
            new.replace(path)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(path), remedy="free space") from None
