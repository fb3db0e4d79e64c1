"""Varnish as a unit, and what is asked of it by `varnishadm`: which VCL is live, its text, another one in its place."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from nf.contracts.units import Readiness, ReadyKind, Sandbox, Units, UnitSpec, UnitState, UnitStatus
from nf.errors import DriverError
from nf.media.documents import ShieldSection
from nf.media.processes import ask_program
from nf.media.shield.purging import URL_HEADER
from nf.media.shield.render import vcl_name

UNIT = "varnishd"
USER, GROUP = "vcache", "varnish"
VARNISHD = Path("/usr/sbin/varnishd")
STORAGE = "malloc,128m"
_ANSWER_TIMEOUT_S = 10.0
_COMPILE_TIMEOUT_S = 45.0  # gcc, on an appliance whose processors are busy


def _sandbox(work: Path) -> Sandbox:
    """One user for all of it: two that share a directory need the rights of root. VCL is compiled by gcc and loaded."""
    return Sandbox(
        user=USER,
        group=GROUP,
        capabilities=("CAP_NET_BIND_SERVICE",),
        families=("AF_INET", "AF_INET6", "AF_UNIX"),
        writable=(work,),
        executable=(work,),
        kernel_files=True,
        write_execute=True,  # PCRE2 compiles the expressions of VCL
    )


class Varnish:
    def __init__(self, run_dir: Path, units: Units) -> None:
        self.directory = run_dir / "cdn-shield"
        self._units = units

    @property
    def work(self) -> Path:
        return self.directory / "work"

    @property
    def file(self) -> Path:
        """What a start reads: the VCL that was last put to use."""
        return self.directory / "shield.vcl"

    # -- the unit ---------------------------------------------------------------------------------------------------

    def spec(self, section: ShieldSection) -> UnitSpec:
        listen = f"{section.listen}:{section.port}"
        return UnitSpec(
            name=UNIT,
            argv=(
                *(str(VARNISHD), "-F", "-n", str(self.work), "-a", listen),
                *("-f", str(self.file), "-s", STORAGE),
            ),
            ready=Readiness(ReadyKind.TCP, listen, 30.0),
            stop_timeout_s=5.0,
            sandbox=_sandbox(self.work),
        )

    async def status(self) -> UnitStatus | None:
        return await self._units.status(UNIT)

    async def ready(self) -> bool:
        status = await self.status()
        return status is not None and status.state is UnitState.READY

    async def activate(self, section: ShieldSection, vcl: str) -> None:
        """Bring Varnish to `vcl` on the addresses of `section`; a running one keeps its cache unless it must move.

        Raises DriverError with Varnish's own words when it does not take it.
        """
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        spec, status = self.spec(section), await self.status()
        if status is not None and status.spec == spec and status.state is UnitState.READY:
            if await self.live() != vcl:
                await self._use(vcl)
            self.write(vcl)
            return
        self.write(vcl)
        await self._units.define(spec)
        if status is None or status.state in {UnitState.STOPPED, UnitState.FAILED}:
            await self._units.start(UNIT)
        else:
            await self._units.restart(UNIT)

    async def remove(self) -> None:
        await self._units.remove(UNIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- the file ---------------------------------------------------------------------------------------------------

    def read(self) -> str | None:
        try:
            return self.file.read_text()
        except FileNotFoundError:
            return None

    def write(self, vcl: str) -> None:
        """Replace it atomically. Raises DriverError."""
        new = self.file.with_suffix(".new")
        try:
            new.write_text(vcl)
            new.replace(self.file)
        except OSError as error:
            raise DriverError(f"cannot write {self.file}: {error}") from error

    # -- what lives -------------------------------------------------------------------------------------------------

    async def live(self) -> str | None:
        """The text of the VCL that is in use; None when Varnish does not answer."""
        try:
            active = next((name for name, status in (await self._loaded()).items() if status == "active"), None)
            return None if active is None else (await self._ask("vcl.show", active)).strip() + "\n"
        except DriverError:
            return None

    async def _use(self, vcl: str) -> None:
        """Put `vcl` to use beside the running requests. The one before stays loaded, so that it is back at once."""
        before = await self._loaded()
        name = vcl_name(vcl)
        if name not in before:
            candidate = self.directory / f"{name}.vcl"
            candidate.write_text(vcl)
            try:
                await self._ask("vcl.load", name, str(candidate), answer_s=_COMPILE_TIMEOUT_S)
            finally:
                candidate.unlink()
        await self._ask("vcl.use", name)
        for other, status in before.items():
            if other != name and status == "available":
                await self._ask("vcl.discard", other)

    async def ban(self, pattern: str) -> None:
        """Serve nothing that is stored now and whose URL matches the regular expression. Raises DriverError."""
        await self._ask("ban", f"obj.http.{URL_HEADER}", "~", _quoted(pattern))

    async def _loaded(self) -> dict[str, str]:
        """Name -> `active` or `available`, of every VCL that is loaded."""
        return parse_vcl_list(await self._ask("vcl.list", "-j"))

    async def _ask(self, *words: str, answer_s: float = _ANSWER_TIMEOUT_S) -> str:
        status, output = await ask_program(
            ("varnishadm", "-n", str(self.work), "-t", f"{answer_s:.0f}", *words), timeout_s=2 * answer_s
        )
        if status != 0:
            raise DriverError(f"varnishadm {words[0]}: {_told(output)}", where=f"unit {UNIT}")
        return output

    async def statistics(self) -> dict[str, int]:
        """All counters by name. Raises DriverError."""
        status, output = await ask_program(("varnishstat", "-n", str(self.work), "-t", "1", "-j"), timeout_s=5.0)
        if status != 0:
            raise DriverError(f"varnishstat: {_told(output)}", where=f"unit {UNIT}")
        return parse_statistics(output)


def _quoted(word: str) -> str:
    """As the command line of Varnish reads it: backslashes and quotes mean something there."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_vcl_list(text: str) -> dict[str, str]:
    """Name -> status of `vcl.list -j`, which begins with entries about the answer itself. Raises DriverError."""
    try:
        entries = json.loads(text)
        found = {entry["name"]: entry["status"] for entry in entries if isinstance(entry, dict) and "name" in entry}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DriverError(f"varnishadm says what is no list of VCL: {text[:60]}", where=f"unit {UNIT}") from error
    return {str(name): str(status) for name, status in found.items()}


def parse_statistics(text: str) -> dict[str, int]:
    """The counters of `varnishstat -j`, version 1. Raises DriverError."""
    try:
        counters = json.loads(text)["counters"]
        return {name: int(entry["value"]) for name, entry in counters.items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DriverError(f"varnishstat says what is no statistics: {text[:60]}", where=f"unit {UNIT}") from error


async def check_candidate(vcl: str) -> None:
    """Let Varnish compile `vcl` aside of everything that runs. Raises DriverError with the compiler's complaint."""
    with tempfile.TemporaryDirectory(prefix="nf-shield-") as name:
        candidate = _candidate(Path(name), vcl)
        status, output = await ask_program(
            (str(VARNISHD), "-C", "-n", str(candidate.parent / "work"), "-f", str(candidate)),
            timeout_s=_COMPILE_TIMEOUT_S,
        )
    if status != 0:
        raise DriverError(f"Varnish would not take the configuration: {_told(output)}", where="varnishd -C")


def _candidate(place: Path, vcl: str) -> Path:
    place.chmod(0o755)  # the compiler runs as its own user
    candidate = place / "shield.vcl"
    candidate.write_text(vcl)
    return candidate


def _told(output: str) -> str:
    """The first lines of a complaint: the rest shows the place again."""
    return " | ".join(line.strip() for line in output.splitlines()[:6] if line.strip())
