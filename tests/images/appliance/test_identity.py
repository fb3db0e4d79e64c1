"""From a seed to an identity, and the end of its token."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unittest.mock import patch

import pytest

from images.appliance import first_boot, identity, seed_file
from images.appliance.identity import Source
from images.appliance.places import Places, recover, replace_secret, shred, write_durable
from images.appliance.system import Program
from nf.errors import DocumentError, RefusedError

_ENROLMENT = {"appliance": "pop1", "serial": "SN1", "token": "secret-token", "domain": "d", "noc": ["a:1"]}


class Nothing:
    """No stick, no program."""

    def run(self, program: Program) -> bytes:
        return b'{"blockdevices": []}' if program.argv[0] == "lsblk" else b""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path)
    for directory in (made.etc, made.run, made.esp / "nf/seed"):
        directory.mkdir(parents=True)
    return made


def _seed(places: Places, **more: object) -> bytes:
    data = json.dumps({"serial": "SN1", **more}).encode()
    write_durable(places.esp_seed, data)
    return data


def test_a_seed_becomes_an_identity_once(places: Places) -> None:
    _seed(places, hostname="pop1", interfaces={"eth1": {"mac": "52:54:00:00:00:01"}})
    assert first_boot.take_seed(places, Nothing())
    assert identity.serial(places) == "SN1"
    network = json.loads((places.etc / "network.json").read_bytes())
    assert network["hostname"] == "pop1"
    assert network["interfaces"] == {"eth1": {"mac": "52:54:00:00:00:01"}}
    assert not (places.etc / "ssh/authorized_keys").exists()
    assert not first_boot.take_seed(places, Nothing())


def test_another_machines_seed_is_refused(places: Places) -> None:
    _seed(places)
    assert first_boot.take_seed(places, Nothing())
    data = b'{"serial": "SN2"}'
    with pytest.raises(RefusedError, match="this machine is SN1"):
        first_boot.use(Source("stick", data), places)
    assert identity.serial(places) == "SN1"


def test_a_bad_seed_changes_nothing_and_is_told(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    _seed(places, management={"address": "nowhere"})
    assert not first_boot.take_seed(places, Nothing())
    assert identity.serial(places) == ""
    assert "must be dhcp, or an IPv4 address" in caplog.text
    with pytest.raises(DocumentError):
        first_boot.use(Source("stick", b"{}"), places)


def test_after_a_wipe_only_a_hand_seeds_it(places: Places) -> None:
    _seed(places)
    write_durable(places.wiped, b"{}")
    assert not first_boot.take_seed(places, Nothing())
    assert first_boot.take_seed(places, Nothing(), by_hand=True)
    assert not places.wiped.exists()


def test_the_token_is_destroyed_wherever_it_lies(places: Places) -> None:
    data = _seed(places, enrolment=_ENROLMENT)
    write_durable(places.etc / "enrolment.json", b'{"token": "secret-token"}')
    write_durable(places.etc / "serial", b"SN1\n")
    waited: list[float] = []

    def enrol(seconds: float) -> None:
        waited.append(seconds)
        record = {"token_sha256": hashlib.sha256(b"secret-token").hexdigest()}
        (places.state / "noc.json").write_text(json.dumps(record))

    first_boot.await_enrolled(places, Nothing(), sleep=enrol)
    assert waited
    assert not (places.etc / "enrolment.json").exists()
    assert json.loads(places.esp_seed.read_bytes()) == {"serial": "SN1"}
    assert identity.taken(Source("esp", places.esp_seed.read_bytes()), places)
    assert not any(b"secret-token" in path.read_bytes() for path in places.root.rglob("*") if path.is_file())
    assert seed_file.has_token(data)


def test_a_new_token_is_kept_until_it_is_used(places: Places) -> None:
    (places.state / "noc.json").write_text(json.dumps({"token_sha256": hashlib.sha256(b"the first").hexdigest()}))
    assert identity.enrolled(places)
    write_durable(places.etc / "enrolment.json", b'{"token": "the second"}')
    assert not identity.enrolled(places)
    (places.state / "noc.json").write_text("{")
    assert not identity.enrolled(places)


def test_without_a_seed_it_waits_for_a_stick_and_goes_on(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    waited: list[float] = []
    assert first_boot.first_boot(places, Nothing(), sleep=waited.append) == 0
    assert sum(waited) == pytest.approx(first_boot.STICK_S)
    assert "NO SEED" in caplog.text


def test_a_machine_with_an_identity_does_not_wait(places: Places) -> None:
    _seed(places)
    first_boot.take_seed(places, Nothing())
    assert first_boot.first_boot(places, Nothing(), sleep=lambda _s: pytest.fail("waited")) == 0


def test_a_cut_while_a_secret_is_replaced_leaves_one_of_the_two(places: Places) -> None:
    write_durable(places.esp_seed, b"old secret")

    def cut(path: Path) -> None:
        shred(path)
        raise KeyboardInterrupt

    with patch("images.appliance.places.shred", cut), pytest.raises(KeyboardInterrupt):
        replace_secret(places.esp_seed, b"new")
    recover(places.esp_seed)
    assert places.esp_seed.read_bytes() == b"new"
    write_durable(places.esp_seed.with_suffix(".new"), b"half")
    recover(places.esp_seed)
    assert places.esp_seed.read_bytes() == b"new"
    assert [path.name for path in places.esp_seed.parent.iterdir()] == ["seed.json"]
