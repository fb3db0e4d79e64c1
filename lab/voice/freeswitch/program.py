"""The program: FreeSWITCH's arguments, its folders, its life."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lab.voice import MODEL, VERSION
from lab.voice.freeswitch import api, api_channels, api_modules, applications, sofia
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.esl import Listener
from lab.voice.freeswitch.journal import Log
from lab.voice.freeswitch.xmlconf import ConfigError, Registry, true

_FOLDERS = {
    "-conf": "conf_dir", "-log": "log_dir", "-run": "run_dir", "-db": "db_dir", "-mod": "mod_dir",
    "-htdocs": "htdocs_dir", "-scripts": "script_dir", "-temp": "temp_dir", "-grammar": "grammar_dir",
    "-certs": "certs_dir", "-recordings": "recordings_dir", "-storage": "storage_dir", "-cache": "cache_dir",
    "-sounds": "sounds_dir", "-base": "base_dir", "-cfgname": "cfgname",
}  # fmt: skip
_VALUES = {*_FOLDERS, "-u", "-g"}
_FLAGS = {
    "-nf", "-nonat", "-nonatmap", "-nocal", "-nort", "-rp", "-lp", "-hp", "-np", "-core", "-c", "-nc", "-ncwait", "-vg",
    "-waste", "-minimal", "-reincarnate", "-reincarnate-reexec", "-heavy-timer", "-no-auto-stack", "-stop",
    "-version", "-help", "-h", "-?", "-t", "-elegant-term",
}  # fmt: skip
_MODULES = {
    "mod_commands", "mod_conference", "mod_console", "mod_db", "mod_dialplan_xml", "mod_dptools", "mod_event_socket",
    "mod_hash", "mod_local_stream", "mod_logfile", "mod_loopback", "mod_native_file", "mod_sndfile", "mod_sofia",
    "mod_spandsp", "mod_tone_stream", "mod_voicemail", "mod_expr", "mod_esf", "mod_fifo", "mod_syslog", "mod_say_en",
}  # fmt: skip
USAGE = f"""{MODEL} of freeswitch {VERSION}
Usage: freeswitch [OPTIONS]

    -nf -nc -ncwait -c      in the foreground; in the background; in it once it is up; with a console
    -conf -log -run -db DIR folders: -conf, -log and -db all or none; also -mod -base -sounds -recordings -storage -temp
    -u USER -g GROUP        taken and ignored
    -nonat -nonatmap -rp -lp -hp -np -nort -nocal -vg -core -waste -minimal -reincarnate   taken and ignored
    -stop                   ends the one whose freeswitch.pid is in the run folder
    -version -help
"""


class _UsageError(Exception):
    """What is wrong with the arguments."""


def chosen(arguments: Sequence[str]) -> tuple[set[str], dict[str, Path]]:
    """Flags and folders. Raises _UsageError as FreeSWITCH refuses them."""
    flags: set[str] = set()
    folders: dict[str, Path] = {}
    rest = list(arguments)
    while rest:
        one = rest.pop(0)
        if one in _VALUES:
            if not rest or rest[0].startswith("-"):
                raise _UsageError(f"When using {one} you must specify a value")
            value = rest.pop(0)
            if one in _FOLDERS:
                folders[_FOLDERS[one]] = Path(value)
        elif one in _FLAGS:
            flags.add(one)
        else:
            raise _UsageError(f"Unknown option '{one}', see '-help' for a list of valid options")
    given = {"conf_dir", "log_dir", "db_dir"} & set(folders)
    if given and len(given) < 3:
        raise _UsageError("You must specify all or none of -conf, -log, and -db")
    base = folders.get("base_dir", Path("/usr/local/freeswitch"))
    run = folders.get("run_dir", folders.get("db_dir", base / "run"))
    defaults = {
        "conf_dir": base / "conf", "log_dir": base / "log", "db_dir": base / "db", "run_dir": run,
        "mod_dir": base / "mod", "sounds_dir": base / "sounds", "recordings_dir": base / "recordings",
        "storage_dir": base / "storage", "script_dir": base / "scripts", "temp_dir": base / "tmp",
    }  # fmt: skip
    if "base_dir" not in folders and given:  # a model's user has no /usr/local/freeswitch: beside the databases
        beside = folders["db_dir"]
        defaults |= {"recordings_dir": beside / "recordings", "storage_dir": beside / "storage"}
    return flags, defaults | folders


def _address() -> str:
    """$${local_ip_v4}: the address that would be used towards elsewhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _variables(folders: dict[str, Path]) -> dict[str, str]:
    address = _address()
    made = {"hostname": socket.gethostname(), "local_hostname": socket.gethostname(), "local_ip_v4": address}
    made |= {"switch_serial": "000000000000", "local_ip_v6": "::1", "local_mask_v4": "255.255.255.0"}
    return made | {"domain": address, **{name: str(path) for name, path in folders.items()}}


def _load(switch: Switch) -> bool:
    """modules.conf. False: a critical one is missing."""
    config = switch.registry.configuration("modules.conf")
    if config is None:
        switch.journal.error("open of modules.conf failed")
    for element in config.iterfind("modules/load") if config is not None else ():
        name = element.get("module", "")
        if name in _MODULES:
            switch.modules.add(name)
            switch.journal.notice(f"Successfully Loaded [{name}]")
            continue
        path = f"{switch.folders['mod_dir']}/{name}.so"
        switch.journal.critical(f"Error Loading module {path}\n**{path}: cannot open shared object file**")
        if true(element.get("critical")):
            switch.journal.critical(f"Failed to load critical module '{name}', abort startup")
            return False
    return True


async def _beat(switch: Switch) -> None:
    while True:
        await asyncio.sleep(switch.heartbeat)
        up = switch.uptime()
        switch.fire(
            "HEARTBEAT",
            {
                "Event-Info": "System Ready",
                "Up-Time": api.up_time(up),
                "FreeSWITCH-Version": f"{VERSION}~64bit {MODEL}",
                "Uptime-msec": str(int(up * 1000)),
                "Session-Count": str(len(switch.channels)),
                "Max-Sessions": str(switch.max_sessions),
                "Session-Per-Sec": str(switch.sps),
                "Session-Per-Sec-Last": str(switch.last_sps()),
                "Session-Per-Sec-Max": str(switch.sps_peak),
                "Session-Per-Sec-FiveMin": str(switch.sps_peak),
                "Session-Since-Startup": str(switch.total),
                "Session-Peak-Max": str(switch.peak),
                "Session-Peak-FiveMin": str(switch.peak_five),
                "Idle-CPU": f"{95.0:.6f}",
                "Heartbeat-Interval": str(switch.heartbeat),
            },
        )


async def live(folders: dict[str, Path], registry: Registry, *, console: bool) -> int:
    """From start to end; the exit code."""
    journal = Log(folders["log_dir"], console=console)
    switch = Switch(folders, registry, journal, registry.variables["local_ip_v4"])
    for one in (applications, api, api_channels, api_modules):
        one.install(switch)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, switch.stopping.set)
    loop.add_signal_handler(signal.SIGHUP, journal.reopen)
    if not _load(switch):
        return 1
    listener = Listener(switch)
    tasks = [asyncio.ensure_future(_beat(switch))]
    if "mod_sofia" in switch.modules:
        await sofia.start(switch)
    if "mod_event_socket" in switch.modules:
        tasks.append(asyncio.ensure_future(listener.start()))
    journal.write("CONSOLE", f"FreeSWITCH Version {VERSION}~64bit ({MODEL} 64bit)\nFreeSWITCH Started\n"
              f"Max Sessions [{switch.max_sessions}]\nSession Rate [{switch.sps}]")  # fmt: skip
    switch.fire("STARTUP", {"Event-Info": "System Ready"})
    await switch.stopping.wait()
    switch.fire("SHUTDOWN", {"Event-Info": "System Shutting Down"})
    journal.write("CONSOLE", f"Shutting down {len(switch.channels)} session(s)")
    switch.hangup_all("SYSTEM_SHUTDOWN")
    await asyncio.sleep(0.1)  # the BYEs leave
    for task in tasks:
        task.cancel()
    await listener.stop()
    for profile in switch.profiles.values():
        await profile.stop()
    journal.write("CONSOLE", "FreeSWITCH ended")
    journal.close()
    return 0


def _stop(folders: dict[str, Path]) -> int:
    path = folders["run_dir"] / "freeswitch.pid"
    try:
        number = int(path.read_text())
        os.kill(number, signal.SIGTERM)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"Unable to read or end {path}: {error}\n")
        return 255
    sys.stdout.write(f"Killing: {number}\n")
    for _ in range(600):
        if not path.exists():
            break
        time.sleep(0.05)
    return 0


def _background() -> None:
    """-nc: the parent ends at once; the child has no terminal."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def run(flags: set[str], folders: dict[str, Path]) -> int:
    registry = Registry(folders["conf_dir"], _variables(folders))
    try:
        registry.read()
        for name in ("log_dir", "run_dir", "db_dir"):
            folders[name].mkdir(parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"{MODEL}\n{error}\nCannot Initialize [Cannot Open log directory or XML Root!]\n")
        return 255
    if {"-nc", "-ncwait"} & flags:
        _background()
    pid = folders["run_dir"] / "freeswitch.pid"
    pid.write_text(str(os.getpid()))
    try:
        return asyncio.run(live(folders, registry, console=not {"-nc", "-ncwait"} & flags))
    finally:
        pid.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    try:
        flags, folders = chosen(sys.argv[1:] if arguments is None else arguments)
    except _UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    if flags & {"-help", "-h", "-?"}:
        sys.stdout.write(USAGE)
        sys.exit(0)
    if "-version" in flags:
        sys.stdout.write(f"FreeSWITCH version: {VERSION}~64bit ({MODEL} 64bit)\n")
        sys.exit(0)
    sys.exit(_stop(folders) if "-stop" in flags else run(flags, folders))


if __name__ == "__main__":
    main()
