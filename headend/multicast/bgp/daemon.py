"""bgpd as a unit beside FRR's other daemons, whose zebra it puts its routes into."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from headend.multicast.bgp.render import DAEMON
from headend.multicast.frr.daemons import DAEMON_DIRECTORY, GROUP, USER, Daemons
from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec
from nf.errors import DriverError

RPKI_MODULES = ("/usr/lib/x86_64-linux-gnu/frr/modules", "/usr/lib/aarch64-linux-gnu/frr/modules")


class Bgpd(Daemons):
    """Its own directory, so that neither set finds the other's vty. `rpki`: with the module that asks a cache."""

    def __init__(self, run_dir: Path, units: Units, *, rpki: bool = False) -> None:
        super().__init__(run_dir, units, directory="bgp")
        self._zebra = run_dir / "frr" / "zserv.api"
        self.rpki = rpki

    def spec(self, daemon: str = DAEMON) -> UnitSpec:
        place = self.directory
        argv = (
            str(DAEMON_DIRECTORY / daemon),
            *(("-M", "rpki") if self.rpki else ()),
            *("-f", str(self.config_path(daemon)), "-i", str(place / f"{daemon}.pid")),
            *("-z", str(self._zebra), "--vty_socket", str(self.vty_directory)),
            *("-A", "127.0.0.1", "-P", "0", "-u", USER, "-g", GROUP),
        )
        ready = Readiness(ReadyKind.UNIX_SOCKET, str(self.vty_path(daemon)))
        sandbox = Sandbox(
            user=USER,
            group=GROUP,
            capabilities=("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"),
            families=("AF_INET", "AF_INET6", "AF_UNIX"),
            writable=(place,),
            readable=(place.parent / "frr",),
            system_calls=("capset",),
            kernel_files=True,
            nice=-5,
        )
        return UnitSpec(name=daemon, argv=argv, after=("zebra",), ready=ready, directory=place, sandbox=sandbox)


def check_installed(*, rpki: bool, modules: Collection[str] = RPKI_MODULES) -> None:
    """Raises DriverError naming what is not installed."""
    if not (DAEMON_DIRECTORY / DAEMON).exists():
        raise DriverError(f"not installed: {DAEMON_DIRECTORY / DAEMON}", remedy="install the package frr")
    if rpki and not any((Path(place) / "bgpd_rpki.so").exists() for place in modules):
        raise DriverError("bgpd cannot ask an RPKI cache", remedy="install the package frr-rpki-rtrlib")
