"""Units over a real systemd. The first test boots one and runs there what is marked so; it needs no other set-up."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headend.multicast.documents import MonitorSection, OutputSection, SourceStage
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.render import DAEMONS
from headend.multicast.monitor.units import Places as MonitorPlaces
from headend.multicast.monitor.units import text_of as monitor_text
from headend.multicast.output.units import Places as OutputPlaces
from headend.multicast.output.units import text_of as output_text
from headend.multicast.source.units import unit_spec as source_unit
from headend.multicast.tree.pinning import unit_spec as pins
from nf.contracts.units import Readiness, ReadyKind, Sandbox, UnitSpec, UnitState
from nf.errors import DriverError, InputError
from nf.supervisor.systemd.units import LINKS, SystemdUnits
from tests.nf.supervisor.conftest import alive, systemd_units
from tests.support.pid1 import SYSTEMD, booted

SLEEP = ("sleep", "1000")
HERE = "tests/nf/supervisor"
pytestmark = [pytest.mark.root, pytest.mark.daemon]
inside = pytest.mark.skipif("NF_TEST_SYSTEMD" not in os.environ, reason="runs in the machine that the first test boots")


@pytest.mark.skipif("NF_TEST_SYSTEMD" in os.environ, reason="this is that machine")
def test_the_contract_is_kept_by_a_systemd_of_its_own(require_programs: Callable[..., None]) -> None:
    require_programs("unshare", "nsenter", "dbus-daemon", "journalctl", str(SYSTEMD))
    with booted() as machine:
        told = machine.pytest(f"{HERE}/test_contract.py", f"{HERE}/test_systemd.py")
        said = machine.run("journalctl", "--no-pager", "--lines=100").stdout if told.returncode else ""
    assert told.returncode == 0, told.stdout + said


@pytest.fixture
async def units(tmp_path: Path) -> AsyncIterator[SystemdUnits]:
    async with systemd_units(tmp_path / "state") as made:
        yield made


@inside
async def test_every_argument_and_variable_arrives_as_it_was_written(units: SystemdUnits, tmp_path: Path) -> None:
    odd = [
        "",
        " ",
        "%n %% %",
        "$HOME ${HOME} $$",
        "a;b",
        ";",
        "'",
        '"',
        "\\",
        "\\x41",
        "é\n\t",
        "#",
        "-",
        "@",
        "*",
        "\x01",
        "=a",
    ]
    told = tmp_path / "told"
    code = f"import json, os, sys; json.dump([sys.argv[1:], os.environ['ODD']], open({str(told)!r}, 'w'))"
    variable = "% $x '\" \\ é\n\tend"
    await units.define(
        UnitSpec(
            "odd",
            (sys.executable, "-S", "-c", code, *odd),
            environment=(("ODD", variable),),
            restart=False,
            ready=Readiness(ReadyKind.FILE, str(told)),
            sandbox=Sandbox(writable=(tmp_path,)),
        )
    )
    await units.start("odd")
    async with asyncio.timeout(90):
        while not told.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    assert json.loads(told.read_text()) == [odd, variable]


@inside
async def test_a_unit_is_adopted_by_the_next_agent(units: SystemdUnits, tmp_path: Path) -> None:
    old, new = UnitSpec("kept@1", SLEEP), UnitSpec("kept@1", ("sleep", "2000"))
    await units.define(old)
    before = await units.start("kept@1")
    await units.define(new)
    async with systemd_units(tmp_path / "state") as again:
        status = await again.status("kept@1")
        assert status is not None
        assert (status.pid, status.state, status.spec) == (before.pid, UnitState.READY, old)
        assert (await again.restart("kept@1")).spec == new


@inside
async def test_after_a_boot_everything_is_there_again_and_what_was_wanted_runs(
    units: SystemdUnits, tmp_path: Path
) -> None:
    for name in ("wanted", "idle"):
        await units.define(UnitSpec(name, SLEEP))
    await units.define(UnitSpec("emptied", SLEEP, environment=(("CONFIG", "/run/nf-gone/config"),)))
    for name in ("wanted", "emptied"):
        await units.start(name)
        await units.stop(name)
        # A boot: nothing runs, the links are gone, and systemd knows none of it; only the state is left.
        record = tmp_path / "state" / "units" / f"{name}.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"wanted": True}))
    for name in ("wanted", "idle", "emptied"):
        (LINKS / f"nf-{name}.service").unlink()
    fresh = SystemdUnits(tmp_path / "state")
    try:
        assert await fresh.restore() == ("wanted",)
        async with asyncio.timeout(90):
            while {s.name: s.state for s in await fresh.list()} != {  # noqa: ASYNC110
                "emptied": UnitState.STOPPED,  # its configuration went with /run: the agent makes it anew
                "idle": UnitState.STOPPED,
                "wanted": UnitState.READY,
            }:
                await asyncio.sleep(0.05)
    finally:
        await fresh.close()


@inside
async def test_a_damaged_record_is_set_aside_and_the_others_stay(units: SystemdUnits, tmp_path: Path) -> None:
    await units.define(UnitSpec("good", SLEEP))
    (tmp_path / "state" / "units" / "bad.json").write_text('{"version": 1, "spec')
    fresh = SystemdUnits(tmp_path / "state")
    try:
        assert [status.name for status in await fresh.list()] == ["good"]
    finally:
        await fresh.close()
    assert (tmp_path / "state" / "units" / "bad.damaged").exists()


@inside
async def test_a_service_of_the_appliance_is_not_replaced(units: SystemdUnits, tmp_path: Path) -> None:
    (tmp_path / "nf-agent.service").touch()
    other = SystemdUnits(tmp_path / "other", shipped=tmp_path)
    with pytest.raises(InputError, match="service of its own"):
        await other.define(UnitSpec("agent", SLEEP))


@inside
async def test_a_unit_has_the_least_rights(units: SystemdUnits, tmp_path: Path) -> None:
    """Each of these is refused to a unit that did not name it."""
    secret, told = tmp_path / "secret", tmp_path / "told" / "told"
    secret.mkdir()
    (secret / "key").write_text("hush")
    (secret / "given").mkdir()
    (secret / "given" / "password").write_text("told")
    code = f"""
import ctypes, json, mmap, os, pathlib, socket
def refused(work):
    try:
        work()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return ""
answers = {{
    "writes": refused(lambda: open("{tmp_path}/elsewhere", "w")),
    "writes /etc": refused(lambda: open("/etc/elsewhere", "w")),
    "reads a secret": refused(lambda: open("{secret}/key").read()),
    "reads what it is given": refused(lambda: open("{secret}/given/password").read()),
    "an address family": refused(lambda: socket.socket(socket.AF_INET)),
    "executable memory": refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "a system call": refused(lambda: os.chroot("/")),
    "its owner": refused(lambda: os.setuid(1)),
}}
answers["a foreign process"] = "/proc/1" if os.path.exists("/proc/1") else ""
answers["capabilities"] = [l for l in open("/proc/self/status") if l.startswith(("CapEff", "CapBnd"))][0].split()[1]
with open("{told}.new", "w") as file:
    json.dump(answers, file)
os.rename("{told}.new", "{told}")
"""
    sandbox = Sandbox(writable=(told.parent,), readable=(secret / "given",))
    spec = UnitSpec("bound", (sys.executable, "-S", "-c", code), restart=False, sandbox=sandbox)
    held = SystemdUnits(tmp_path / "state", hidden=(secret,))
    try:
        await held.define(replace(spec, ready=Readiness(ReadyKind.FILE, str(told), 20)))
        await held.start("bound")
        answers = json.loads(told.read_text())
        await held.remove("bound")
    finally:
        await held.close()
    allowed = {what for what, refusal in answers.items() if not refusal}
    assert allowed == {"reads what it is given"}, answers


@inside
async def test_a_place_that_is_missing_is_made_and_a_wrong_user_is_told(units: SystemdUnits, tmp_path: Path) -> None:
    new = tmp_path / "deep" / "er"
    await units.define(UnitSpec("maker", SLEEP, sandbox=Sandbox(writable=(new,))))
    assert (await units.start("maker")).state is UnitState.READY
    assert new.is_dir()
    await units.define(UnitSpec("stranger", SLEEP, restart=False, sandbox=Sandbox(user="no-such-user")))
    with pytest.raises(DriverError, match="its user is unknown"):
        await units.start("stranger")


@inside
async def test_only_what_is_named_is_mapped_as_code(units: SystemdUnits) -> None:
    """/run is mounted noexec, here as on an appliance."""
    place = Path("/run/nf-test-code")
    code = f"""
import shutil, ctypes, ctypes.util, glob
shutil.copy(glob.glob("/lib/x86_64-linux-gnu/libz.so.1")[0], "{place}/copy.so")
ctypes.CDLL("{place}/copy.so")
open("{place}/loaded", "w").close()
"""
    argv = (sys.executable, "-S", "-c", code)
    ready = Readiness(ReadyKind.FILE, str(place / "loaded"), 20.0)
    refused = UnitSpec("loader", argv, ready=ready, restart=False, sandbox=Sandbox(writable=(place,)))
    await units.define(refused)
    with pytest.raises(DriverError, match="failed to map segment"):
        await units.start("loader")
    await units.define(replace(refused, sandbox=Sandbox(writable=(place,), executable=(place,))))
    await units.start("loader")
    assert (place / "loaded").exists()
    await units.remove("loader")


@inside
async def test_units_outlive_whoever_defined_them(units: SystemdUnits, tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, sys
from pathlib import Path
from nf.contracts.units import UnitSpec
from nf.supervisor.systemd.units import SystemdUnits
async def main():
    units = SystemdUnits(Path(sys.argv[1]))
    await units.define(UnitSpec("orphan", ("sleep", "1000")))
    print((await units.start("orphan")).pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path / "state"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await agent.communicate()
    assert alive(int(out))
    status = await units.status("orphan")
    assert status is not None
    assert (status.state, status.pid) == (UnitState.READY, int(out))


@inside
async def test_frr_runs_with_what_its_units_may(units: SystemdUnits, tmp_path: Path) -> None:
    if shutil.which("zebra", path="/usr/lib/frr") is None:
        pytest.skip("needs frr")
    for parent in (tmp_path, *tmp_path.parents):
        parent.chmod(0o755)  # the daemons pass through as their own user
    daemons = Daemons(tmp_path / "run", units)
    daemons.make_directories()
    for daemon in DAEMONS:
        daemons.write_file(daemon, "frr defaults traditional\n")
        await daemons.start(daemon)
    states = await daemons.states()
    assert states == dict.fromkeys(DAEMONS, UnitState.READY)
    assert set(await daemons.running(DAEMONS)) == set(DAEMONS)
    for daemon in reversed(DAEMONS):
        await daemons.remove(daemon)


@inside
async def test_the_processes_of_multicast_run_with_what_their_units_may(units: SystemdUnits, tmp_path: Path) -> None:
    stage = SourceStage(
        channel="ch1", path="iptv", contribution_port=6001, source="127.0.0.1", group="232.1.1.1", port=5000, rate="1M"
    )
    monitor = MonitorPlaces.of(tmp_path / "run", tmp_path / "kept")
    output = OutputPlaces.of(tmp_path / "run", tmp_path / "kept")
    monitor.write(monitor_text(MonitorSection()))
    output.write(output_text(OutputSection(tap="lo")))
    specs = (source_unit(stage, tmp_path / "run"), pins(()), monitor.unit(), output.unit())
    for spec in specs:
        await units.define(spec)
        assert (await units.start(spec.name)).state is UnitState.READY
    for spec in specs:
        status = await units.status(spec.name)
        assert status is not None
        assert (status.state, status.restarts) == (UnitState.READY, 0)
        await units.remove(spec.name)


@inside
async def test_a_technician_sees_the_units_of_an_appliance(units: SystemdUnits, tmp_path: Path) -> None:
    await units.define(UnitSpec("teller", ("sh", "-c", "echo here I am; exec sleep 1000")))
    await units.start("teller")

    async def nf(*arguments: str) -> str:
        places = ("--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state"))
        command = (sys.executable, "-m", "nf.cli.main", "supervisor", *arguments, *places)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    (unit,) = json.loads(await nf("list", "--json"))
    assert (unit["name"], unit["state"]) == ("teller", "ready")
    assert json.loads(await nf("log", "teller", "--json")) == ["here I am"]


@inside
def test_the_agents_own_service_starts_and_lives_in_its_sandbox() -> None:
    """As it is shipped, but for where the program is."""
    shipped = Path(__file__).parents[3] / "images/files/common/usr/lib/systemd/system/nf-agent.service"
    unit = LINKS / "nf-agent.service"
    program = f"{sys.executable} -m nf.cli.main"
    unit.write_text(shipped.read_text().replace("/usr/bin/nf", program).replace("WatchdogSec=60", "WatchdogSec=4"))

    def systemctl(*arguments: str) -> str:
        return subprocess.run(["systemctl", *arguments], check=True, capture_output=True, text=True).stdout

    systemctl("daemon-reload")
    systemctl("start", unit.name)
    try:
        told = systemctl("show", unit.name, "--property=ActiveState,StatusText")
        assert set(told.split("\n")) >= {"ActiveState=active", "StatusText=waits to be enrolled"}, told
        time.sleep(5)  # longer than the watchdog waits: only a heart that beats gets over it
        assert systemctl("show", unit.name, "--property=ActiveState,NRestarts").split() == [
            "NRestarts=0",
            "ActiveState=active",
        ]
    finally:
        systemctl("stop", unit.name)
        unit.unlink()
        systemctl("daemon-reload")


@inside
def test_the_agent_may_start_the_wipe_from_its_sandbox() -> None:
    """By systemctl, as `nf appliance wipe` has it; what stands for the wipe only leaves a sign."""
    shipped = Path(__file__).parents[3] / "images/files/common/usr/lib/systemd/system/nf-agent.service"
    sandbox = [
        line
        for line in shipped.read_text().partition("OOMScoreAdjust=")[2].partition("[Install]")[0].splitlines()
        if "=" in line and not line.startswith(("#", "-"))
    ]
    asks, wipe, sign = LINKS / "nf-asks.service", LINKS / "nf-reset@.service", Path("/run/nf/wiped")
    start = "ExecStart=systemctl start nf-reset@wipe.service"
    asks.write_text("\n".join(["[Service]", "Type=oneshot", start, *sandbox, ""]))
    wipe.write_text(f"[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=touch {sign}\n")
    try:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        done = subprocess.run(["systemctl", "start", asks.name], check=False, capture_output=True, text=True)
        assert done.returncode == 0, _journal(asks.name)
        assert sign.exists()
    finally:
        asks.unlink()
        wipe.unlink()
        sign.unlink(missing_ok=True)
        subprocess.run(["systemctl", "daemon-reload"], check=True)


def _journal(unit: str) -> str:
    return subprocess.run(["journalctl", "--unit", unit], check=False, capture_output=True, text=True).stdout
