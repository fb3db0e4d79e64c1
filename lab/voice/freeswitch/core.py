"""The switch: sessions and their limits, modules, events, and how it is paused and shut down."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.dialplan import Hunter
from lab.voice.freeswitch.events import Event, Identity
from lab.voice.freeswitch.journal import Log, level_of
from lab.voice.freeswitch.xmlconf import ConfigError, Registry, params

Application = Callable[[Channel, str], Awaitable[None]]
FIVE_MINUTES = 300


class Switch:
    """folders: conf_dir, log_dir, run_dir, db_dir, sounds_dir, recordings_dir, storage_dir."""

    def __init__(self, folders: dict[str, Path], registry: Registry, log: Log, address: str) -> None:
        self.folders, self.registry, self.journal = folders, registry, log
        hostname = socket.gethostname()
        parameters = params(registry.configuration("switch.conf"))
        self.identity = Identity(hostname, parameters.get("switchname") or hostname, address)
        self.channels: dict[str, Channel] = {}
        self.listeners: set[Callable[[Event, Channel | None], None]] = set()
        self.modules: set[str] = set()
        self.applications: dict[str, tuple[str, Application]] = {}
        self.apis: dict[str, tuple[str, Callable[[str], Awaitable[str]]]] = {}
        self.conferences: dict[str, Any] = {}
        self.profiles: dict[str, Any] = {}
        self.max_sessions = _number(parameters, "max-sessions", 1000)
        self.sps = _number(parameters, "sessions-per-second", 30)
        self.ports = (_number(parameters, "rtp-start-port", 16384), _number(parameters, "rtp-end-port", 32768))
        self.heartbeat = _number(parameters, "event-heartbeat-interval", 20)
        self.paused_inbound = self.paused_outbound = False
        self.shutdown_requested = False
        self.stopping = asyncio.Event()
        self.started = time.time()
        self.total = self.peak = self.peak_five = self.sps_peak = 0
        self._peak_five_until = 0.0
        self._starts: deque[float] = deque(maxlen=10_000)
        self._emptied = asyncio.Event()
        log.level = level_of(parameters.get("loglevel", "")) or log.level

    # Events.

    def fire(
        self, name: str, headers: dict[str, str] | None = None, body: str = "", channel: Channel | None = None
    ) -> None:
        if self.listeners:
            event = self.identity.event(name, headers, body)
            for listener in list(self.listeners):
                listener(event, channel)

    # Sessions.

    @property
    def accepts_inbound(self) -> bool:
        return not (self.paused_inbound or self.stopping.is_set())

    @property
    def accepts_outbound(self) -> bool:
        return not (self.paused_outbound or self.stopping.is_set())

    def last_sps(self) -> int:
        """Sessions that began within the last second."""
        now = time.time()
        return sum(1 for one in self._starts if one > now - 1)

    def begins(self, channel: Channel) -> bool:
        """False: limits let no further session in."""
        if len(self.channels) >= self.max_sessions:
            self.journal.critical(f"Over Session Limit! {self.max_sessions}")
            return False
        if self.last_sps() >= self.sps:
            self.journal.critical(f"Throttle Error! {self.last_sps()}")
            return False
        now = time.time()
        self._starts.append(now)
        self.sps_peak = max(self.sps_peak, self.last_sps())
        self.total += 1
        self.channels[channel.uuid] = channel
        self.peak = max(self.peak, len(self.channels))
        if now > self._peak_five_until:
            self.peak_five, self._peak_five_until = 0, now + FIVE_MINUTES
        self.peak_five = max(self.peak_five, len(self.channels))
        channel.state = "CS_INIT"
        channel.fire("CHANNEL_CREATE")
        return True

    def ended(self, channel: Channel) -> None:
        self.channels.pop(channel.uuid, None)
        if not self.channels:
            self._emptied.set()

    def find(self, uuid: str) -> Channel | None:
        return self.channels.get(uuid)

    def hangup_all(self, cause: str = "MANAGER_REQUEST") -> int:
        found = list(self.channels.values())
        for channel in found:
            channel.hangup(cause)
        return len(found)

    async def shut_down(self, *, asap: bool) -> bool:
        """Waits for the last session; elegant lets new ones in meanwhile. False: it was cancelled."""
        self.fire("SHUTDOWN_REQUESTED", {"Event-Info": "ASAP" if asap else "elegant"})
        self.shutdown_requested = True
        if asap:  # FreeSWITCH's flag against new sessions is that of both pauses
            self.paused_inbound = self.paused_outbound = True
        while self.channels and self.shutdown_requested:
            self._emptied.clear()
            how = "ASAP" if asap else "once there are no active calls."
            self.journal.warning(f"Shutdown in progress, {len(self.channels)} session(s) remain.\nShutting down {how}")
            try:
                await asyncio.wait_for(self._emptied.wait(), 10)
            except TimeoutError:
                continue
        if not self.shutdown_requested:
            return False
        self.stopping.set()
        return True

    def cancel_shutdown(self) -> None:
        """What asap has closed stays closed: so it is in FreeSWITCH; `fsctl resume` opens it."""
        self.shutdown_requested = False
        self._emptied.set()

    # Dialplan and applications.

    async def route(self, channel: Channel) -> None:
        """Hunts, and executes what was found."""
        channel.set_state("CS_ROUTING")
        profile = channel.profile
        caller = f"{profile.caller_id_name} <{profile.caller_id_number}>->{profile.destination_number}"
        self.journal.info(f"Processing {caller} in context {profile.context}")
        if profile.dialplan.upper() == "INLINE":
            await self.execute_list(channel, _inline(profile.destination_number))
            return
        contexts = self.registry.contexts(profile.context) if "mod_dialplan_xml" in self.modules else []
        if not contexts:
            self.journal.warning(f"Context {profile.context} not found")

        def inline(application: str, data: str) -> None:
            if application in ("set", "export", "unset"):
                name, _, value = data.removeprefix("nolocal:").partition("=")
                channel.variables.pop(name, None)
                if application != "unset":
                    channel.variables[name] = value

        hunter = Hunter(channel.value, inline, self.expand_api)
        found = hunter.hunt(contexts)
        for line in hunter.log:
            self.journal.debug(f"Dialplan: {channel.name} {line}")
        if not found.actions:
            if not found.extensions:
                self.journal.info("No Route, Aborting")
            channel.hangup("NO_ROUTE_DESTINATION" if not found.extensions else "NORMAL_CLEARING")
            return
        await self.execute_list(channel, [(one.application, one.data) for one in found.actions])

    async def execute_list(self, channel: Channel, actions: list[tuple[str, str]]) -> None:
        channel.set_state("CS_EXECUTE")
        for application, data in actions:
            await self.execute(channel, application, data)
            if not channel.up:
                return

    async def execute(self, channel: Channel, name: str, data: str) -> None:
        """One application. One that is not known ends the call: DESTINATION_OUT_OF_ORDER."""
        if not channel.up:
            return
        module, application = self.applications.get(name, ("", None))
        if application is None or module not in self.modules:
            self.journal.error(f"Invalid Application {name}")
            channel.hangup("DESTINATION_OUT_OF_ORDER")
            return
        expanded = channel.expanded(data)
        self.journal.debug(f"EXECUTE {channel.name} {name}({expanded})")
        before = channel.application, channel.application_data
        channel.application, channel.application_data = name, expanded
        channel.variables |= {"current_application": name, "current_application_data": expanded}
        headers = {"Application": name, "Application-Data": expanded}
        channel.fire("CHANNEL_EXECUTE", headers)
        try:
            await application(channel, expanded)
        finally:
            if channel.up:
                response = channel.variables.get("current_application_response", "_none_")
                channel.fire("CHANNEL_EXECUTE_COMPLETE", headers | {"Application-Response": response})
                channel.application, channel.application_data = before

    def expand_api(self, name: str, arguments: str) -> str:
        """`${function(arguments)}`: those that answer at once."""
        if name == "global_getvar":
            return self.registry.variables.get(arguments, "")
        if name in ("lower", "upper"):
            return getattr(arguments, name)()  # type: ignore[no-any-return]
        self.journal.warning(f"${{{name}(...)}} is not modelled")
        return ""

    # Configuration.

    def reload(self) -> str | None:
        """None, or what is wrong: then everything stays as it was."""
        try:
            self.registry.read()
        except ConfigError as error:
            return str(error)
        self.fire("RELOADXML")
        return None

    def uptime(self) -> float:
        return time.time() - self.started


def _number(parameters: dict[str, str], name: str, default: int) -> int:
    text = parameters.get(name, "")
    return int(text) if text.isdecimal() and int(text) > 0 else default


def _inline(text: str) -> list[tuple[str, str]]:
    """`app:data,app:data`, perhaps quoted by '."""
    found = []
    for one in text.strip("'").split(","):
        application, _, data = one.strip().partition(":")
        found.append((application, data))
    return found
