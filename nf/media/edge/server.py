"""Traffic Server as a unit: its files, its start, and a reload that is believed only when it has been seen.

`traffic_ctl config reload` reports success whatever the new files are, and Traffic Server keeps its old remap table
when the new one is wrong. So the loaded table is asked for its generation, and diags.log for the reason.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from nf.clock import Clock
from nf.contracts.json import digest
from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError, UnavailableError
from nf.media.certificates import prune
from nf.media.documents import EdgeSection
from nf.media.edge import tls
from nf.media.edge.index import INDEX, TagIndex
from nf.media.edge.render import (
    CONFIG_HOST,
    GROUP,
    MULTICERT,
    PROGRAMS,
    REMAP,
    RESTART_FILES,
    USER,
    Places,
    generation_of,
    runroot,
    section_of,
)
from nf.media.http import get_once
from nf.media.processes import ask_program, check_user

UNIT = "trafficserver"
BODIES = Path("/etc/trafficserver/body_factory")
_STARTED_WITH = "NF_STARTED_WITH"
_STORE = "cache.db"
_POLL_S = 0.1
_RELOAD_AGAIN_S = 8.0
_CONTROL_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 2.0
_COMPLAINTS = ("ERROR:", "something failed during BuildTable()")
# remap_purge keeps the generation of a channel from its first purge on; until then it complains at every load.
_NOT_PURGED_YET = re.compile(r"\[remap_purge\] Can not open file .*: No such file or directory")


class Server:
    def __init__(self, run_dir: Path, state_dir: Path, units: Units, clock: Clock) -> None:
        self.places = Places(run_dir / "cdn-edge", state_dir / "cdn-edge")
        self.index = TagIndex(self.places.cache / INDEX, self.places.logs)
        self._units = units
        self._clock = clock

    # -- files ------------------------------------------------------------------------------------------------------

    def read_files(self) -> dict[str, str]:
        """Every file of the directory of configuration by name."""
        try:
            return {path.name: path.read_text() for path in self.places.config.iterdir() if path.is_file()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DriverError(f"cannot read {self.places.config}: {error}") from error

    def write_files(self, files: Mapping[str, str]) -> frozenset[str]:
        """Make the directory hold exactly `files`, each replaced atomically; what differed. Raises DriverError."""
        before = self.read_files()
        try:
            for name in before.keys() - files.keys():
                (self.places.config / name).unlink(missing_ok=True)
            for name, text in files.items():
                if before.get(name) != text:
                    self._replace(self.places.config / name, text)
        except (LookupError, OSError) as error:
            raise DriverError(f"cannot write {self.places.config}: {error}") from error
        return frozenset(name for name in before.keys() | files.keys() if before.get(name) != files.get(name))

    def _replace(self, path: Path, text: str) -> None:
        # Traffic Server tells a new file by its time of change, in whole seconds.
        last = path.stat().st_mtime if path.exists() else 0.0
        new = path.parent.parent / f"{path.name}.new"
        new.write_text(text)
        new.chmod(0o644)
        shutil.chown(new, USER, GROUP)
        changed = max(self._clock.now(), last + 1.0)
        os.utime(new, (changed, changed))
        new.replace(path)

    def check_place(self) -> None:
        for place in (self.places.root, self.places.cache):
            check_user(USER, "trafficserver", place)

    def make_directories(self) -> None:
        """Raises DriverError."""
        fresh = not (self.places.cache / _STORE).exists()
        make_directories(self.places)
        if fresh:
            self.index.begin()

    def remove_directories(self) -> None:
        for path in (self.places.root, self.places.cache):
            shutil.rmtree(path, ignore_errors=True)

    # -- the unit ---------------------------------------------------------------------------------------------------

    async def status(self) -> UnitStatus | None:
        return await self._units.status(UNIT)

    async def remove(self) -> None:
        await self._units.remove(UNIT)

    async def activate(
        self, files: Mapping[str, str], timeout_s: float, certificates: Mapping[str, str] | None = None
    ) -> None:
        """Write `files` and bring Traffic Server to them: start, restart or reload, whatever is the least that does it.

        `certificates`: file name -> PEM; what is there and named by neither the old nor the new files goes.

        Raises DriverError with its own words when it does not take them.
        """
        self.make_directories()
        mark = self._diagnostics_size()
        section = section_of(files)
        if section is None:
            raise DriverError("remap.config names no section", where=str(self.places.config))
        wanted = generation_of(files)
        renewed = self._install(files, certificates or {})
        written = self.write_files(files)
        if renewed and MULTICERT in files and MULTICERT not in written:
            tls.touch(self.places.config / MULTICERT, self._clock.now())
        told = frozenset[str]()
        spec = self._spec(section, files)
        status = await self._units.status(UNIT)
        down = {UnitState.STOPPED, UnitState.FAILED, UnitState.BACKOFF}  # the last: it died of the files that it had
        if status is None or status.spec is None or status.state in down:
            await self._units.define(spec)
            await self._units.start(UNIT)
        elif status.spec != spec:
            await self._units.define(spec)
            await self._units.restart(UNIT)
        elif written or renewed or await self.live_generation(section) != wanted:
            # A table that was changed by hand may be loaded, and announces the generation that it was made from.
            told = written & {REMAP} if await self.live_generation(section) == wanted else told
            await self.reload()
        await self.prove(section, wanted, mark, timeout_s, told)

    def _install(self, files: Mapping[str, str], certificates: Mapping[str, str]) -> bool:
        named = " ".join(text.get(MULTICERT, "") for text in (files, self.read_files()))
        keep = re.findall(r"ssl_cert_name=(\S+)", named)
        prune(self.places.certificates, frozenset(keep))
        return tls.install(self.places.certificates, certificates)

    def _spec(self, section: EdgeSection, files: Mapping[str, str]) -> UnitSpec:
        """The unit carries a digest of the files that only a start reads, so that it is known when one is due."""
        return UnitSpec(
            name=UNIT,
            argv=(str(PROGRAMS / "traffic_manager"), "--nosyslog"),
            environment=(
                ("TS_RUNROOT", str(self.places.root)),
                (_STARTED_WITH, digest({name: files.get(name) for name in sorted(RESTART_FILES)})[:16]),
            ),
            ready=Readiness(ReadyKind.TCP, f"{section.listen[0]}:{section.port}", 20.0),
            stop_timeout_s=10.0,
            sandbox=_sandbox(self.places),
        )

    async def reload(self) -> None:
        """Ask for it; whether it happened is another question. Raises DriverError."""
        argv = (str(PROGRAMS / "traffic_ctl"), "config", "reload")
        status, output = await ask_program(
            argv, timeout_s=_CONTROL_TIMEOUT_S, environment={"TS_RUNROOT": str(self.places.root)}
        )
        if status != 0:
            raise DriverError(f"traffic_ctl config reload: {output}", where=f"unit {UNIT}")

    async def prove(
        self, section: EdgeSection, generation: str | None, mark: int, timeout_s: float, told: Collection[str] = ()
    ) -> None:
        """Wait until the loaded remap table is that of `generation` and diags.log tells that the files `told` are read.

        `mark`: size of diags.log before the change. Raises DriverError with the complaint of Traffic Server, or when
        the time is over.
        """
        start = self._clock.monotonic()
        reload_at = start + _RELOAD_AGAIN_S
        while (live := await self.live_generation(section)) != generation or not self._loaded(told, mark):
            now = self._clock.monotonic()
            complaints = self.complaints(mark)
            if complaints or now - start > timeout_s:
                told = " | ".join(complaints) or f"it serves generation {live or 'none'} after {timeout_s:.0f} s"
                raise DriverError(
                    f"Traffic Server did not take its configuration: {told}",
                    where=f"unit {UNIT}",
                    remedy=f"read {self._diagnostics}",
                )
            if live is not None and now > reload_at:  # two changes within its granularity of time look like one
                await self.reload()
                reload_at = now + _RELOAD_AGAIN_S
            await self._clock.sleep(_POLL_S)

    async def live_generation(self, section: EdgeSection) -> str | None:
        """What the loaded remap table says; None when nothing answers or it says nothing."""
        url = f"http://{section.listen[0]}:{section.port}/"
        try:
            answer = await get_once(url, {"Host": CONFIG_HOST}, timeout_s=_ANSWER_TIMEOUT_S)
        except UnavailableError:
            return None
        location = answer.headers.get("location", "")
        return location.removeprefix("http://").partition(".")[0] or None

    # -- what it says -----------------------------------------------------------------------------------------------

    @property
    def _diagnostics(self) -> Path:
        return self.places.logs / "diags.log"

    def _diagnostics_size(self) -> int:
        try:
            return self._diagnostics.stat().st_size
        except FileNotFoundError:
            return 0

    def complaints(self, mark: int) -> tuple[str, ...]:
        """The errors in diags.log since it had the size `mark`, without their time stamps."""
        said = (line for line in self._said(mark) if not _NOT_PURGED_YET.search(line))
        return tuple(line for line in said if any(word in line for word in _COMPLAINTS))

    def _loaded(self, files: Collection[str], mark: int) -> bool:
        said = "\n".join(self._said(mark)) if files else ""
        return all(f"{file} finished loading" in said for file in files)

    def _said(self, mark: int) -> list[str]:
        try:
            with self._diagnostics.open(errors="replace") as log:
                rolled = self._diagnostics_size() < mark
                log.seek(0 if rolled else mark)
                return [re.sub(r"^\[[^]]*\] (\[[^]]*\] )?", "", line) for line in log.read().splitlines()]
        except FileNotFoundError:
            return []


def _sandbox(places: Places) -> Sandbox:
    """From its start the user that it would become."""
    return Sandbox(
        user=USER,
        group=GROUP,
        capabilities=("CAP_NET_BIND_SERVICE",),
        families=("AF_INET", "AF_INET6", "AF_UNIX"),
        writable=(places.root, places.cache),
        executable=(places.root,),  # plugins are loaded from copies, so that a reload can bring newer ones
        system_calls=("capset",),  # it puts its capabilities away, and takes them up to open its port
        kernel_files=True,
    )


def make_directories(places: Places) -> None:
    """Directories, error pages and runroot.yaml. Raises DriverError."""
    try:
        for path in places.directories:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.chown(path, USER, GROUP)
        places.certificates.chmod(0o700)
        if not (places.config / BODIES.name).exists():
            shutil.copytree(BODIES, places.config / BODIES.name)
        (places.root / "runroot.yaml").write_text(runroot(places))
    except (LookupError, OSError) as error:
        raise DriverError(
            f"cannot prepare {places.root}: {error}", remedy="install the package trafficserver; run the agent as root"
        ) from error
