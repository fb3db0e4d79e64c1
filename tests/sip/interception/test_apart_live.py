"""The observation point as a user of its own beside a proxy of another: as an appliance has them."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.interception import Content, Direction, EventKind
from sip.interception.units import GROUP, directory, socket_path, unit_spec
from tests.sip.interception.world import RELAY, TARGET, Point, asking, observed, order, phones, talk, until, wanted
from tests.sip.kamailio.daemon import Proxy, Relay

pytestmark = [pytest.mark.root, pytest.mark.daemon]

OBSERVER = 64_254
"""No user of the machine's: what an appliance has a name for (images/roles)."""
LOOKING = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(len(s.recv(100)))"


def as_user(user: int | str, *capabilities: str) -> tuple[str, ...]:
    """As the supervisor's sandbox does it: these capabilities, and no way to others."""
    kept = ",".join(("-all", *(f"+{one.removeprefix('CAP_').lower()}" for one in capabilities)))
    sets = (f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}")
    return ("setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups", *sets, "--no-new-privs")


def status(pid: int) -> dict[str, list[str]]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.split() for name, _, value in lines}


@pytest.fixture
def apart(
    require_root: Callable[[], None], require_programs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Point]]:
    """Root, who gives the orders here, is the caller."""
    require_root()
    require_programs("kamailio", "rtpengine", "setpriv")
    before = os.umask(0)  # the test's own sockets, by which it asks the proxy, are to be answered at
    folder = tmp_path_factory.mktemp("a")
    for path in (folder, *folder.parents):
        path.chmod(path.stat().st_mode | 0o011)
    made = Proxy(folder, wanted())
    point = Point(made)
    sandbox = unit_spec(observed(), folder).sandbox
    assert sandbox is not None
    made.as_user, point.as_user = as_user("kamailio"), as_user(OBSERVER, *sandbox.capabilities)
    point.caller = "root"
    place = directory(made.paths.run)
    place.mkdir(mode=0o711)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "kamailio", GROUP)
    os.chown(place, OBSERVER, -1)
    relay = Relay(RELAY, folder)
    try:
        made.start()
        point.start()
        yield made, point
    finally:
        point.stop()
        made.stop()
        relay.stop()
        os.umask(before)


async def tried(path: Path, *prefix: str) -> str:
    argv = (*prefix, sys.executable, "-c", LOOKING, str(path))
    found = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60, check=False)
    return "refused" if "PermissionError" in found.stderr else found.stdout.strip()


async def test_a_user_of_its_own_with_one_capability_tells_a_call_and_copies_its_media(
    apart: tuple[Proxy, Point],
) -> None:
    proxy, point = apart
    assert point.process is not None
    own, its = status(point.process.pid), status(proxy.pid)
    assert own["Uid"] == [str(OBSERVER)] * 4
    assert own["Gid"] == its["Gid"] != ["0"] * 4
    assert own["Groups"] == []
    assert {own[name][0] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {f"{1:016x}"}  # CAP_CHOWN
    assert own["NoNewPrivs"] == ["1"]
    assert its["Uid"][0] not in {"0", str(OBSERVER)}
    async with phones("alice", "bob") as (alice, bob), asking(point) as taker:
        await taker.point.activate(order(content="media"))
        call, other = await talk(alice, "bob", bob)
        await until(lambda: len(_ways(taker.of(Content))) == 2, taker.told)
        await call.hangup()
        await other.ended()
        end = await taker.event(EventKind.SESSION_END)
        begin = await taker.event(EventKind.SESSION_BEGIN)
        assert (begin.details["caller"], end.session) == (TARGET, begin.session)


def _ways(copies: list[Any]) -> set[Direction]:
    return {one.direction for one in copies} & {Direction.FROM_TARGET, Direction.TO_TARGET}


async def test_its_socket_is_the_callers_alone(apart: tuple[Proxy, Point]) -> None:
    proxy, point = apart
    path = socket_path(proxy.paths.run)
    found = path.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    for user in (OBSERVER, "kamailio", "nobody"):
        assert await tried(path, *as_user(user)) == "refused"
    path.chmod(0o666)
    for user in (OBSERVER, "kamailio", "nobody"):
        assert await tried(path, *as_user(user)) in {"0", ""}
    async with asking(point) as taker:
        assert (await taker.point.status()).orders == 0
