"""A proxy or relay that crashes leaves nothing of whom it observed: targets are in its memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nf.contracts.units import UnitSpec
from nf.supervisor.systemd.render import render
from sip.interception.link import SOUGHT
from sip.kamailio.places import Places
from sip.kamailio.units import proxy_spec
from sip.rtpengine.units import relay_unit
from tests.sip.interception.world import TARGET, asking, core, order

RUN, STATE = Path("/run/nf"), Path("/var/lib/nf")


@pytest.mark.parametrize("spec", [proxy_spec("", Places(RUN, STATE)), relay_unit(STATE)], ids=lambda spec: spec.name)
def test_their_units_write_no_core_and_may_not_raise_the_limit(spec: UnitSpec) -> None:
    text = render(spec)
    assert "\nLimitCORE=0\n" in text
    assert "\nCapabilityBoundingSet=\n" in text


@pytest.mark.root
@pytest.mark.daemon
def test_an_aborted_proxy_leaves_no_core(
    tmp_path_factory: pytest.TempPathFactory, require_root: Callable[[], None], require_programs: Callable[..., None]
) -> None:
    require_programs("kamailio", "rtpengine")
    require_root()
    folder = tmp_path_factory.mktemp("c")
    with core(folder) as (proxy, _, point):
        place = Path(f"/proc/{proxy.pid}/cwd").resolve()
        before = set(place.iterdir())

        async def ordered() -> None:
            async with asking(point) as asker:
                await asker.point.activate(order())
                assert proxy.rpc("htable.dump", SOUGHT)
                await asyncio.to_thread(proxy.stop, signal.SIGABRT)

        (limit,) = [line for line in Path(f"/proc/{proxy.pid}/limits").read_text().splitlines() if "core file" in line]
        assert limit.split()[4:6] == ["0", "0"]
        group = proxy.pid
        asyncio.run(ordered())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        left = [*(set(place.iterdir()) - before), *folder.rglob("core*")]
        assert not any(TARGET.encode() in path.read_bytes() for path in left if path.is_file())
