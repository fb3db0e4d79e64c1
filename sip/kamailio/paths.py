"""Where a proxy's files stand on its appliance. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sip.naming import RPC_PORT, rpc_socket

MODULES: Final = Path("/usr/lib/x86_64-linux-gnu/kamailio/modules")

CONFIG_FILE: Final = "kamailio.cfg"
DISPATCHER_FILE: Final = "dispatcher.list"
TLS_FILE: Final = "tls.cfg"

SETTINGS_DB: Final = "settings.db"
"""Number plan and relays: written by the agent, read by Kamailio when it starts and when it is told to reload."""

LOCATION_DB: Final = "location.db"
"""Registrations: written by Kamailio."""

CALLS_DB: Final = "calls.db"
"""Dialogs and call records: written by Kamailio; the agent reads `cdrs`, and takes away what it has passed on."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a proxy's files stand.

    config       folder of kamailio.cfg, dispatcher.list and tls.cfg
    state        folder of the SQLite files: it outlives a restart of the daemon
    run          the supervisor's folder of sockets: the RPC socket is `sip.naming.rpc_socket(run)`
    certificate  PEM, certificate chain and private key; needed where a listener is tls or wss
    stir_key     PEM, private key on P-256; needed where the section has `stir`
    modules      Kamailio's modules
    rpc_port     TCP on 127.0.0.1: /RPC and /metrics
    """

    config: Path
    state: Path
    run: Path
    certificate: Path
    stir_key: Path | None = None
    modules: Path = MODULES
    rpc_port: int = RPC_PORT

    @property
    def rpc_socket(self) -> Path:
        """Datagrams. Its folder has to be there before the daemon starts."""
        return rpc_socket(self.run)

    def database(self, name: str) -> Path:
        return self.state / name
