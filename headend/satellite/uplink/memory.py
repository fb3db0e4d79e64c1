"""What the uplink must remember over a restart: the section that was applied, and who enabled transmission."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from headend.satellite.documents import UplinkSection
from nf.contracts.json import JsonObject
from nf.errors import IntegrityError, StorageError

_NAME = "satellite-uplink.json"


@dataclass(frozen=True, slots=True)
class Transmission:
    """Of one carrier. `asked_by`: who wants it on the air; it goes on when another person approves before `until`.

    on_air   by the act of two people; a carrier that is on the air without it was not enabled by us
    """

    on_air: bool = False
    asked_by: str = ""
    until: float = 0.0
    reason: str = ""
    approved_by: str = ""

    def to_json(self) -> JsonObject:
        return {
            "on_air": self.on_air,
            "asked_by": self.asked_by,
            "until": self.until,
            "reason": self.reason,
            "approved_by": self.approved_by,
        }

    @classmethod
    def from_json(cls, data: JsonObject) -> Transmission:
        return cls(
            bool(data["on_air"]),
            str(data["asked_by"]),
            float(str(data["until"])),
            str(data["reason"]),
            str(data["approved_by"]),
        )


@dataclass(slots=True)
class Memory:
    """One file, replaced as a whole. `section` is None before the first commit."""

    directory: Path
    section: UplinkSection | None = None
    transmission: dict[str, Transmission] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> Memory:
        """Raises IntegrityError when the file cannot be understood."""
        path = directory / _NAME
        try:
            data = json.loads(path.read_text())
            section, transmission = data["section"], data["transmission"]
            known = {name: Transmission.from_json(one) for name, one in dict(transmission).items()}
            found = None if section is None else UplinkSection.model_validate(section)
        except FileNotFoundError:
            return cls(directory)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "remove it: the next commit writes it anew, and every carrier is muted until two people enable it"
            raise IntegrityError(f"cannot be read: {error}", where=str(path), remedy=remedy) from None
        return cls(directory, found, known)

    def of(self, carrier: str) -> Transmission:
        return self.transmission.get(carrier, Transmission())

    def save(self) -> None:
        """Raises StorageError."""
        data: JsonObject = {
            "section": None if self.section is None else self.section.to_json(),
            "transmission": {name: one.to_json() for name, one in sorted(self.transmission.items())},
        }
        path = self.directory / _NAME
        new = path.with_suffix(".new")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(data))
            new.replace(path)
        except OSError as error:
            raise StorageError(f"cannot be written: {error.strerror}", where=str(path), remedy="free space") from None
