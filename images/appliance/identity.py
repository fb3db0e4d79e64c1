"""The seed turned into this machine's identity below /etc/nf, and its token destroyed once it has been used."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any, Final

from images.appliance import seed_file
from images.appliance.fat import Fat, Volume
from images.appliance.places import ESP_SEED, Places, remove_durable, replace_secret, shred, write_durable
from images.appliance.seed import Seed
from images.appliance.system import Executor
from nf.errors import NfError, RefusedError

_log = logging.getLogger("nf-first-boot")

ENROLMENT: Final = "enrolment.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a seed was found. `volume` None: on this machine's own ESP."""

    name: str
    data: bytes
    volume: Volume | None = None


def serial(places: Places) -> str:
    """Empty before the first seed."""
    try:
        return (places.etc / "serial").read_text().strip()
    except OSError:
        return ""


def enrolled(places: Places) -> bool:
    """Whether the token that lies here was used: a machine that is enrolled may have been given a new one."""
    try:
        record = json.loads((places.state / "noc.json").read_bytes())
        ticket = json.loads((places.etc / ENROLMENT).read_bytes())
        return bool(hashlib.sha256(str(ticket["token"]).encode()).hexdigest() == record["token_sha256"])
    except FileNotFoundError:
        return (places.state / "noc.json").exists()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def taken(source: Source, places: Places) -> bool:
    """Whether this very seed, with or without its token, was taken before."""
    try:
        known = json.loads((places.etc / "seeds.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(known, list) and seed_file.digest(source.data) in known


def take(seed: Seed, source: Source, places: Places, *, by_hand: bool = False) -> None:
    """Write the identity. What makes the seed known comes last, so that a cut repeats all of it.

    `by_hand`: a technician asks for it, which also ends a wipe. Raises RefusedError, StorageError.
    """
    if places.wiped.exists() and not by_hand:
        raise RefusedError(
            "this machine was wiped by order of its NOC and takes no seed by itself",
            where=source.name,
            remedy="take the seed at the console, when it is meant to serve again",
        )
    has = serial(places)
    if has and has != seed.serial:
        raise RefusedError(
            f"the seed is for serial {seed.serial}, this machine is {has}",
            where=source.name,
            remedy="take the seed of this machine; to give it another identity: factory reset first",
        )
    etc = places.etc
    etc.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durable(etc / "network.json", _network(seed))
    if seed.ssh.authorized_keys:
        write_durable(etc / "ssh/authorized_keys", "".join(f"{key}\n" for key in seed.ssh.authorized_keys).encode())
    else:
        remove_durable(etc / "ssh/authorized_keys")
    write_durable(etc / "serial", f"{seed.serial}\n".encode())
    if seed.enrolment is not None:
        write_durable(etc / ENROLMENT, (json.dumps(seed.enrolment.to_json(), indent=2) + "\n").encode())
    bare = without_token(seed)
    if source.volume is not None:  # after a factory reset it is found again here
        write_durable(places.esp_seed, bare)
    remove_durable(places.wiped)
    _remember(places, seed_file.digest(source.data), seed_file.digest(bare))


def without_token(seed: Seed) -> bytes:
    return seed_file.strip_token(seed_file.to_bytes(seed.to_json()))


def _network(seed: Seed) -> bytes:
    wanted = seed.to_json()
    kept: dict[str, Any] = {key: wanted.get(key, {}) for key in ("management", "interfaces")}
    return (json.dumps({**kept, "hostname": seed.host}, indent=2) + "\n").encode()


def _remember(places: Places, *digests: str) -> None:
    path = places.etc / "seeds.json"
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):
        known = []
    kept = [*known, *(one for one in digests if one not in known)] if isinstance(known, list) else [*digests]
    write_durable(path, json.dumps(kept[-32:]).encode())


def destroy_token(places: Places, volumes: list[Volume], executor: Executor) -> tuple[list[str], list[str]]:
    """Once enrolled: the token is of no use to this machine, and must be of none to a finder.

    Returns the places that were cleared, and those that cannot be (a medium that is write-protected).
    """
    cleared: list[str] = []
    left: list[str] = []
    if places.esp_seed.exists() and seed_file.has_token(data := places.esp_seed.read_bytes()):
        _remember(places, seed_file.digest(seed_file.strip_token(data)))
        replace_secret(places.esp_seed, seed_file.strip_token(data))
        cleared.append(f"/efi/{ESP_SEED}")
    for volume in volumes:
        fat = Fat(volume, executor)
        try:
            data = fat.read(seed_file.SEED, seed_file.MAX_OCTETS)
            if not seed_file.has_token(data) or _serial_in(data) != serial(places):
                continue
            _remember(places, seed_file.digest(seed_file.strip_token(data)))
            fat.shred(seed_file.SEED)
            fat.write(seed_file.SEED, seed_file.strip_token(data))
            cleared.append(str(volume.node))
        except NfError as error:
            _log.warning("%s", error)
            left.append(str(volume.node))
    # Last: it is what makes all of this begin again after a cut.
    if (places.etc / ENROLMENT).exists():
        shred(places.etc / ENROLMENT)
        cleared.append(f"/etc/nf/{ENROLMENT}")
    return cleared, left


def _serial_in(data: bytes) -> str:
    try:
        return str(json.loads(data)["serial"])
    except (ValueError, KeyError, TypeError):
        return ""
