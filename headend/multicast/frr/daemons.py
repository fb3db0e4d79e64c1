"""The five daemons as units: directories, configuration files, command lines, and their configuration while they run.

Everything lies in `run_dir/frr`, because the daemons run as user `frr` and `run_dir` is where others may look in.
A daemon that is restarted reads the file that was last applied.
"""

from __future__ import annotations

import pwd
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from headend.multicast.frr.client import VtySocket, open_vty
from headend.multicast.frr.config import Line, difference, format_config, parse_config
from headend.multicast.frr.render import DAEMONS
from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec, UnitState
from nf.errors import DriverError

USER = GROUP = "frr"
DAEMON_DIRECTORY = Path("/usr/lib/frr")
_CAPABILITIES = {
    "zebra": ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"),
    "bfdd": ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"),
    "ospfd": ("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"),
    "pimd": ("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"),
}
"""A daemon ends when it is refused one that it asks for, though SYS_ADMIN is for namespaces that it is not given."""
_BECOME = ("CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID")
_FAMILIES = {"zebra": ("AF_NETLINK",), "bfdd": ("AF_PACKET",)}
_PASSES = 4  # some removals uncover a line that they implied; more than one such round was never seen


def _sandbox(daemon: str, place: Path) -> Sandbox:
    """From its start the user that it would become; ospfd refuses to start as another than root."""
    as_root = daemon == "ospfd"
    return Sandbox(
        user="" if as_root else USER,
        group="" if as_root else GROUP,
        capabilities=(*_CAPABILITIES.get(daemon, ()), *(_BECOME if as_root else ())),
        families=("AF_INET", "AF_INET6", "AF_UNIX", *_FAMILIES.get(daemon, ())),
        writable=(place,),
        system_calls=("capset",),
        kernel_files=True,
        nice=-5,  # as FRR's own service: hellos outlive a busy machine
    )


class Daemons:
    def __init__(self, run_dir: Path, units: Units, *, directory: str = "frr") -> None:
        self.directory = run_dir / directory
        self._vty_directory = self.directory / "vty"
        self._units = units

    # -- places -----------------------------------------------------------------------------------------------------

    def vty_path(self, daemon: str) -> Path:
        return self._vty_directory / f"{daemon}.vty"

    @property
    def vty_directory(self) -> Path:
        return self._vty_directory

    def config_path(self, daemon: str) -> Path:
        return self.directory / f"{daemon}.conf"

    def spec(self, daemon: str) -> UnitSpec:
        place = self.directory
        argv = [
            str(DAEMON_DIRECTORY / daemon),
            *("-f", str(self.config_path(daemon)), "-i", str(place / f"{daemon}.pid")),
            *("-z", str(place / "zserv.api"), "--vty_socket", str(self._vty_directory)),
            *("-A", "127.0.0.1", "-P", "0", "-u", USER, "-g", GROUP),
        ]
        if daemon == "bfdd":
            argv += ["--bfdctl", str(place / "bfdd.sock")]
        after = () if daemon == "zebra" else ("zebra",)
        ready = Readiness(ReadyKind.UNIX_SOCKET, str(self.vty_path(daemon)))
        return UnitSpec(
            name=daemon, argv=tuple(argv), after=after, ready=ready, directory=place, sandbox=_sandbox(daemon, place)
        )

    def check_place(self) -> None:
        """Raises DriverError when user `frr` is missing or cannot get to where its files will be. Changes nothing."""
        try:
            pwd.getpwnam(USER)
        except KeyError as error:
            raise DriverError(f"there is no user {USER}", remedy="install the package frr") from error
        for parent in self.directory.parents:
            if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
                raise DriverError(
                    f"user {USER} cannot pass through {parent}", where=str(self.directory), remedy=f"chmod o+x {parent}"
                )

    def make_directories(self) -> None:
        """Raises DriverError."""
        try:
            for path in (self.directory, self._vty_directory):
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
                shutil.chown(path, USER, GROUP)
        except (LookupError, OSError) as error:
            raise DriverError(
                f"cannot prepare {self.directory}: {error}", remedy="install the package frr; run the agent as root"
            ) from error

    # -- files ------------------------------------------------------------------------------------------------------

    def read_file(self, daemon: str) -> str | None:
        try:
            return self.config_path(daemon).read_text()
        except FileNotFoundError:
            return None

    def write_file(self, daemon: str, text: str | None) -> None:
        """Replace the file that the daemon reads when it starts, atomically; None removes it."""
        path = self.config_path(daemon)
        if text is None:
            path.unlink(missing_ok=True)
            return
        new = path.with_suffix(".new")
        try:
            new.write_text(text)
            new.chmod(0o640)
            shutil.chown(new, USER, GROUP)
            new.replace(path)
        except OSError as error:
            raise DriverError(f"cannot write {path}: {error}") from error

    # -- units ------------------------------------------------------------------------------------------------------

    async def states(self) -> dict[str, UnitState]:
        """Of the daemons that are defined."""
        known = {status.name: status.state for status in await self._units.list()}
        return {daemon: known[daemon] for daemon in DAEMONS if daemon in known}

    async def start(self, daemon: str) -> None:
        """Define and start it; nothing happens to one that runs. Raises DriverError with the log's tail."""
        await self._units.define(self.spec(daemon))
        await self._units.start(daemon)

    async def restart(self, daemon: str) -> None:
        await self._units.restart(daemon)

    async def remove(self, daemon: str) -> None:
        await self._units.remove(daemon)

    async def died(self, daemon: str, cause: DriverError) -> DriverError:
        """`cause`, told with what the daemon last wrote."""
        status = await self._units.status(daemon)
        tail = " | ".join((await self._units.log(daemon, 5)) if status is not None else ())
        state = f"{status.state.value}, last exit: {status.last_exit or 'none'}" if status else "not defined"
        return DriverError(
            f"{daemon} did not survive its configuration ({state}): {cause.message}" + (f": {tail}" if tail else ""),
            where=f"unit {daemon}",
            remedy="read the unit's log",
        )

    # -- configuration ----------------------------------------------------------------------------------------------

    async def running_texts(self, daemons: Sequence[str]) -> dict[str, str]:
        texts: dict[str, str] = {}
        for daemon in daemons:
            async with open_vty(self.vty_path(daemon)) as vty:
                texts[daemon] = await vty.running_config()
        return texts

    async def running(self, daemons: Sequence[str]) -> dict[str, tuple[Line, ...]]:
        return {daemon: parse_config(text) for daemon, text in (await self.running_texts(daemons)).items()}

    async def configure(self, daemon: str, want: Sequence[Line]) -> tuple[str, ...]:
        """Bring a running daemon to `want`; what it answered to lines it did not take. Nothing else is touched.

        Raises DriverError with the log's tail when the daemon dies of it.
        """
        complaints: tuple[str, ...] = ()
        try:
            async with open_vty(self.vty_path(daemon)) as vty:
                for _ in range(_PASSES):
                    have = parse_config(await vty.running_config())
                    if not difference(have, want):
                        return ()
                    complaints = await _send(vty, have, want)
        except DriverError as error:
            raise await self.died(daemon, error) from error
        return complaints

    async def restore(self, daemon: str, text: str) -> None:
        """Bring a running daemon back to the running configuration `text`, in the end by a restart with it."""
        want = parse_config(text)
        try:
            await self.configure(daemon, want)
            exact = (await self.running((daemon,)))[daemon] == want
        except DriverError:
            exact = False  # it died meanwhile, and comes back by the restart
        if exact:
            return
        file = self.read_file(daemon)
        self.write_file(daemon, format_config(want))
        try:
            await self.restart(daemon)
        finally:
            self.write_file(daemon, file)


async def _send(vty: VtySocket, have: Sequence[Line], want: Sequence[Line]) -> tuple[str, ...]:
    complaints: list[str] = []
    for command in difference(have, want):
        reply = await vty.configure(command.parents, command.command)
        if not reply.ok:
            complaints.append(f"{command}: {' '.join(reply.text.split()) or f'status {reply.status}'}")
    return tuple(complaints)


def file_texts(configuration: Mapping[str, Sequence[Line]]) -> dict[str, str]:
    """What each daemon's configuration file says."""
    return {daemon: "frr defaults traditional\n" + format_config(lines) for daemon, lines in configuration.items()}
