"""API commands: how they are run, and those of the switch itself (mod_commands)."""

from __future__ import annotations

import time
import uuid

from lab.voice import MODEL, VERSION
from lab.voice.freeswitch.core import Switch
from lab.voice.freeswitch.journal import level_of

STACK = "Current Stack Size/Max 240K/8192K\n"
CTL_USAGE = (
    "-USAGE: [recover|send_sighup|hupall|pause [inbound|outbound]|resume [inbound|outbound]|shutdown "
    "[cancel|elegant|asap|now|restart]|sps|sps_peak_reset|sync_clock|sync_clock_when_idle|reclaim_mem|max_sessions|"
    "min_dtmf_duration [num]|max_dtmf_duration [num]|default_dtmf_duration [num]|min_idle_cpu|loglevel [level]|"
    "debug_level [level]|mdns_resolve [enable|disable]]\n"
)


async def run(switch: Switch, text: str) -> str:
    """The command's output; -ERR for what is not known."""
    name, _, arguments = text.strip().partition(" ")
    module, command = switch.apis.get(name, ("", None))
    if command is None or module not in switch.modules:
        return f"-ERR {name} Command not found!\n"
    headers = {"API-Command": name, "API-Command-Argument": arguments}
    switch.fire("API", {key: value for key, value in headers.items() if value})
    return await command(arguments.strip())


def up_time(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    pairs = [
        (days // 365, "year"), (days % 365, "day"), (rest // 3600, "hour"), (rest // 60 % 60, "minute"),
        (rest % 60, "second"), (int(seconds * 1000) % 1000, "millisecond"), (int(seconds * 1e6) % 1000, "microsecond"),
    ]  # fmt: skip
    return ", ".join(f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in pairs)


class Commands:
    """Of mod_commands, without those of channels and lists."""

    def __init__(self, switch: Switch) -> None:
        self.switch = switch

    async def version(self, text: str) -> str:
        if text == "short":
            return f"{VERSION}\n"
        return f"FreeSWITCH Version {VERSION}~64bit ({MODEL} 64bit)\n"

    async def uptime(self, text: str) -> str:
        scale = {"ms": 1000, "m": 1 / 60, "h": 1 / 3600, "d": 1 / 86_400, "us": 1_000_000}.get(text, 1)
        return str(int(self.switch.uptime() * scale))

    async def status(self, _text: str) -> str:
        switch, said = self.switch, up_time(self.switch.uptime())
        ready = switch.accepts_inbound and switch.accepts_outbound
        return (
            f"UP {said}\n"
            f"FreeSWITCH (Version {VERSION} {MODEL} 64bit) is {'ready' if ready else 'not ready'}\n"
            f"{switch.total} session(s) since startup\n"
            f"{len(switch.channels)} session(s) - peak {switch.peak}, last 5min {switch.peak_five} \n"
            f"{switch.last_sps()} session(s) per Sec out of max {switch.sps}, peak {switch.sps_peak}, last 5min "
            f"{switch.sps_peak} \n"
            f"{switch.max_sessions} session(s) max\n"
            f"min idle cpu 0.00/95.00\n{STACK}"
        )

    async def hostname(self, _text: str) -> str:
        return self.switch.identity.hostname

    async def switchname(self, _text: str) -> str:
        return self.switch.identity.switchname

    async def global_getvar(self, text: str) -> str:
        variables = self.switch.registry.variables
        if text:
            return variables.get(text, "")
        return "".join(f"{name}={value}\n" for name, value in variables.items())

    async def global_setvar(self, text: str) -> str:
        name, _, value = text.partition("=")
        self.switch.registry.variables[name.strip()] = value.strip()
        return "+OK"

    async def reloadxml(self, _text: str) -> str:
        wrong = self.switch.reload()
        return "+OK [Success]\n" if wrong is None else f"-ERR [{wrong}]\n"

    async def reloadacl(self, _text: str) -> str:
        return "+OK acl reloaded\n"

    async def create_uuid(self, _text: str) -> str:
        return str(uuid.uuid4())

    async def echo(self, text: str) -> str:
        return text

    async def eval(self, text: str) -> str:
        for name, value in self.switch.registry.variables.items():
            text = text.replace(f"$${{{name}}}", value).replace(f"${{{name}}}", value)
        return text

    async def strepoch(self, _text: str) -> str:
        return str(int(time.time()))

    async def module_exists(self, text: str) -> str:
        return "true" if text in self.switch.modules else "false"

    async def load(self, text: str) -> str:
        if text in self.switch.modules:
            return "-ERR [Module already loaded]\n"
        return "+OK Reloading XML\n-ERR [Not modelled: modules are those of modules.conf at the start]\n"

    async def help(self, _text: str) -> str:
        return "\nValid Commands:\n\n" + "".join(
            f"{name},,,{module}\n" for name, (module, _) in self.switch.apis.items()
        )

    # fsctl

    async def fsctl(self, text: str) -> str:
        words = text.lower().split()
        handler = getattr(self, f"_ctl_{words[0]}", None) if words else None
        if handler is None:
            return CTL_USAGE
        done: str = await handler(words[1:])
        return done

    def _pause(self, words: list[str], *, paused: bool) -> str:
        where = words[0] if words else ""
        if where in ("", "inbound"):
            self.switch.paused_inbound = paused
        if where in ("", "outbound"):
            self.switch.paused_outbound = paused
        return "+OK\n"

    async def _ctl_pause(self, words: list[str]) -> str:
        return self._pause(words, paused=True)

    async def _ctl_resume(self, words: list[str]) -> str:
        return self._pause(words, paused=False)

    async def _ctl_pause_check(self, words: list[str]) -> str:
        inbound, outbound = self.switch.paused_inbound, self.switch.paused_outbound
        paused = {"inbound": inbound, "outbound": outbound}.get(words[0] if words else "", inbound or outbound)
        return "true" if paused else "false"

    async def _ctl_ready_check(self, _words: list[str]) -> str:
        return "true" if self.switch.accepts_inbound and self.switch.accepts_outbound else "false"

    async def _ctl_shutdown_check(self, _words: list[str]) -> str:
        return "true" if self.switch.shutdown_requested else "false"

    async def _ctl_shutdown(self, words: list[str]) -> str:
        if "cancel" in words:
            self.switch.cancel_shutdown()
        elif "elegant" in words or "asap" in words:
            await self.switch.shut_down(asap="asap" in words)  # answers when all calls have ended
        else:
            self.switch.stopping.set()
        return "+OK\n"

    async def _ctl_hupall(self, words: list[str]) -> str:
        self.switch.hangup_all(words[0].upper() if words else "MANAGER_REQUEST")
        return "+OK\n"

    async def _ctl_max_sessions(self, words: list[str]) -> str:
        if words and words[0].isdecimal() and int(words[0]) > 0:
            self.switch.max_sessions = int(words[0])
        return f"+OK max sessions: {self.switch.max_sessions}\n"

    async def _ctl_sps(self, words: list[str]) -> str:
        if words and words[0].isdecimal() and int(words[0]) > 0:
            self.switch.sps = int(words[0])
        return f"+OK sessions per second: {self.switch.sps}\n"

    async def _ctl_last_sps(self, _words: list[str]) -> str:
        return f"+OK last sessions per second: {self.switch.last_sps()}\n"

    async def _ctl_sps_peak_reset(self, _words: list[str]) -> str:
        self.switch.sps_peak = 0
        return "+OK max sessions per second counter reset\n"

    async def _ctl_loglevel(self, words: list[str]) -> str:
        level = level_of(words[0]) if words else None
        if words and level is None:
            return "-ERR syntax error, log level not set!\n"
        if level is not None:
            self.switch.journal.level = level
        return f"+OK log level: {words[0].upper() if words else ''} [{self.switch.journal.level}]\n"

    async def _ctl_send_sighup(self, _words: list[str]) -> str:
        self.switch.journal.reopen()
        return "+OK\n"

    async def _ctl_sync_clock(self, _words: list[str]) -> str:
        return "+OK clock synchronized\n"

    async def _ctl_reclaim_mem(self, _words: list[str]) -> str:
        return "+OK\n"

    async def _ctl_recover(self, _words: list[str]) -> str:
        return "+OK flushed\n"


def install(switch: Switch) -> None:
    commands = Commands(switch)
    names = [
        "version", "uptime", "status", "hostname", "switchname", "global_getvar", "global_setvar", "reloadxml",
        "reloadacl", "create_uuid", "echo", "eval", "strepoch", "module_exists", "load", "help", "fsctl",
    ]  # fmt: skip
    switch.apis |= {name: ("mod_commands", getattr(commands, name)) for name in names}
