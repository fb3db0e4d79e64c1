"""Profiles that this NOC does not trust, or that do not trust it: denied, in words, without noise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nf.cli.profile import save_profile
from nf.clock import RealClock, VirtualClock
from nf.trust.authority import Authority
from tests.nf.cli.conftest import FakeNoc, Nf, issue


def test_a_profile_of_another_authority_is_denied_without_noise(noc: FakeNoc, tmp_path: Path) -> None:
    foreign = Authority.create(tmp_path / "ca", "cli.test", RealClock())
    save_profile(tmp_path / "profile", noc.address, issue(foreign, "operator", "anna"))
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(
        [sys.executable, "-m", "nf.cli.main", "alarms"],
        env={**environment, "NF_PROFILE": str(tmp_path / "profile")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: NOC at {noc.address}: it and your profile do not trust each other: ")
    assert second.startswith("  do: use the profile that this NOC made")
    assert noc.calls == []


def test_a_noc_by_a_name_that_is_not_its_own(nf: Nf, noc: FakeNoc, authority: Authority, tmp_path: Path) -> None:
    address = noc.address.replace("localhost", "127.0.0.1")
    save_profile(tmp_path / "profile", address, issue(authority, "operator", "anna"))
    answer = nf("alarms", "--profile", str(tmp_path / "profile"))
    assert answer.code == 6
    assert noc.calls == []


def test_an_expired_certificate_is_said_before_anything_is_sent(nf: Nf, noc: FakeNoc, tmp_path: Path) -> None:
    old = Authority.create(tmp_path / "ca", "cli.test", VirtualClock())
    save_profile(tmp_path / "profile", noc.address, issue(old, "operator", "anna"))
    answer = nf("alarms", "--profile", str(tmp_path / "profile"))
    assert answer.code == 6
    assert "your certificate is expired since 2023-11-" in answer.err
    assert noc.calls == []
