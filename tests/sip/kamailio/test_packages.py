"""Every module that the configuration loads comes with a package that images and set-up install."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sip.kamailio.paths import MODULES

ROOT = Path(__file__).resolve().parents[3]


def packages() -> set[str]:
    """Of Debian, by the modules of all fragments."""
    fragments = (ROOT / "sip" / "kamailio" / "fragments").glob("*.cfg")
    names = {
        name for one in fragments for name in re.findall(r'^loadmodule "(\S+\.so)"', one.read_text(), re.MULTILINE)
    }
    assert len(names) > 30
    said = subprocess.run(
        ["dpkg-query", "-S", *(str(MODULES / name) for name in sorted(names))],
        check=True,
        capture_output=True,
        text=True,
    )
    return {line.partition(":")[0] for line in said.stdout.splitlines()}


@pytest.mark.daemon
@pytest.mark.parametrize("role", ["core", "pop"])
def test_an_image_has_what_its_proxy_loads(role: str, require_programs: Callable[..., None]) -> None:
    require_programs("kamailio", "dpkg-query")
    listed = yaml.safe_load((ROOT / "images" / "roles" / f"{role}.yaml").read_text())["spec"]["packages"]
    assert packages() <= {one["name"] for one in listed}


@pytest.mark.daemon
def test_set_up_installs_what_a_proxy_loads(require_programs: Callable[..., None]) -> None:
    require_programs("kamailio", "dpkg-query")
    (listed,) = re.findall(r'^PACKAGES="([^"]+)"', (ROOT / "lab" / "setup.sh").read_text(), re.MULTILINE)
    assert packages() <= {*listed.split()}
