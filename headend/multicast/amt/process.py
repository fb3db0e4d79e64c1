"""Relay or gateway as a process: `python -m headend.multicast.amt.process ROLE --section JSON --status SOCKET`.

A connection to its status socket is answered by one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from pathlib import Path

from headend.multicast.amt.codec import Endpoint
from headend.multicast.amt.documents import AmtGateway, AmtRelay
from headend.multicast.amt.gateway import Gateway, Incoming, Outgoing, Phase
from headend.multicast.amt.mac import Authenticator
from headend.multicast.amt.relay import Limits, Relay
from headend.multicast.amt.wire import Delivery, Upstream
from headend.multicast.answering import listening_socket
from headend.multicast.igmp import Flow
from headend.multicast.ipv4 import MalformedError
from nf.contracts.json import JsonObject

_TICK_S = 0.1
_READS = 256
_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33


def tunnel_socket(address: str, port: int) -> socket.socket:
    """UDP, not blocking. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


class _Tunnel:
    """The UDP socket, with what could not be sent counted."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.send_errors = 0
        self.last_error = ""

    def send(self, outgoing: Iterable[Outgoing]) -> None:
        for one in outgoing:
            try:
                self.socket.sendto(one.data, (str(one.to.address), one.to.port))
            except OSError as error:
                self.send_errors += 1
                self.last_error = str(error)

    def received(self) -> Iterable[tuple[bytes, Endpoint]]:
        for _ in range(_READS):
            try:
                data, (address, port) = self.socket.recvfrom(65_536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP of an earlier datagram
                self.last_error = str(error)
                continue
            yield data, Endpoint(IPv4Address(address), port)


class RelayProcess:
    def __init__(self, section: AmtRelay) -> None:
        groups = None if section.groups is None else frozenset(map(int, section.groups))
        limits = Limits(section.max_gateways, section.max_flows, groups)
        self._relay = Relay(section.address, Authenticator(secrets.token_bytes), limits)
        self._tunnel = _Tunnel(tunnel_socket(str(section.address), section.port))
        self._upstream = Upstream(section.upstream)
        self._forwarded = 0
        self._upstream_errors = 0

    def sockets(self) -> tuple[tuple[socket.socket, Callable[[], None]], ...]:
        return ((self._tunnel.socket, self.read_tunnel), (self._upstream.socket, self.read_upstream))

    def read_tunnel(self) -> None:
        now = time.monotonic()
        for data, sender in self._tunnel.received():
            self._tunnel.send(self._relay.receive(data, sender, now))
        self._join()

    def read_upstream(self) -> None:
        try:
            for packet, flow in self._upstream.packets():
                outgoing = list(self._relay.forward(packet, flow))
                self._forwarded += len(outgoing)
                self._tunnel.send(outgoing)
        except OSError:
            self._upstream_errors += 1  # the interface is down for a while

    def tick(self) -> None:
        """Raises OSError when it is better begun anew."""
        if self._upstream.made_anew:
            raise OSError("the interface upstream was made anew")
        self._relay.tick(time.monotonic())
        self._join()

    def _join(self) -> None:
        try:
            self._upstream.want(self._relay.flows())
        except OSError:
            self._upstream_errors += 1  # tried again with the next tick

    def finish(self) -> None:
        """Gateways find out by the silence (RFC 7450 knows no farewell of a relay)."""

    def status(self) -> JsonObject:
        gateways = self._relay.gateways()
        return {
            "gateways": {f"{g.address}:{g.port}": len(flows) for g, flows in gateways.items()},
            "flows": [told(flow) for flow in sorted(self._relay.flows())],
            "packets": self._forwarded,
            "bad": {**self._relay.bad},
            "errors": self._tunnel.send_errors + self._upstream_errors,
            "last_error": self._tunnel.last_error,
        }

    def close(self) -> None:
        self._tunnel.socket.close()
        self._upstream.close()


class GatewayProcess:
    def __init__(self, section: AmtGateway) -> None:
        flows = tuple((int(flow.source), int(flow.group)) for flow in section.flows)
        discovery = Endpoint(section.relay, section.port)
        self._gateway = Gateway(discovery, flows, lambda: secrets.randbits(32))
        self._tunnel = _Tunnel(tunnel_socket("0.0.0.0", 0))  # noqa: S104 - the route to the relay decides
        self._delivery = Delivery(section.deliver)
        self._delivered: dict[Flow, int] = dict.fromkeys(flows, 0)
        self._tunnel.send(self._gateway.start(time.monotonic()))

    def sockets(self) -> tuple[tuple[socket.socket, Callable[[], None]], ...]:
        return ((self._tunnel.socket, self.read_tunnel),)

    def read_tunnel(self) -> None:
        now = time.monotonic()
        for data, sender in self._tunnel.received():
            for one in self._gateway.receive(data, sender, now):
                if isinstance(one, Incoming):
                    self._deliver(one)
                else:
                    self._tunnel.send((one,))

    def _deliver(self, incoming: Incoming) -> None:
        try:
            self._delivery.deliver(incoming.packet)
            self._delivered[incoming.flow] += 1
        except MalformedError as error:
            self._gateway.bad[error.reason] += 1

    def tick(self) -> None:
        self._tunnel.send(self._gateway.tick(time.monotonic()))

    def finish(self) -> None:
        if self._gateway.phase is not Phase.CLOSED:
            self._tunnel.send(self._gateway.stop())

    def status(self) -> JsonObject:
        now = time.monotonic()
        heard = self._gateway.heard_at
        relay = self._gateway.relay
        return {
            "phase": self._gateway.phase.value,
            "relay": f"{relay.address}:{relay.port}" if relay is not None else None,
            "limited": self._gateway.limited,
            "requests": self._gateway.requests,
            "flows": {
                told(flow): {"packets": count, "age_s": now - heard[flow] if flow in heard else None}
                for flow, count in self._delivered.items()
            },
            "bad": {**self._gateway.bad},
            "errors": self._tunnel.send_errors + self._delivery.errors,
            "last_error": self._delivery.last_error or self._tunnel.last_error,
        }

    def close(self) -> None:
        self._tunnel.socket.close()
        self._delivery.close()


def told(flow: Flow) -> str:
    return f"{IPv4Address(flow[0])},{IPv4Address(flow[1])}"


async def run(process: RelayProcess | GatewayProcess, status: Path) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            await reader.readline()
            writer.write(json.dumps({"version": 1, "pid": os.getpid(), **process.status()}).encode() + b"\n")
            await writer.drain()
        writer.close()

    for sock, read in process.sockets():
        loop.add_reader(sock.fileno(), read)
    server = await asyncio.start_unix_server(answer, sock=listening_socket(status))
    try:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _TICK_S)
            process.tick()
    finally:
        server.close()
        for sock, _ in process.sockets():
            loop.remove_reader(sock.fileno())
        process.finish()
        process.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="amt", description=__doc__)
    parser.add_argument("role", choices=("relay", "gateway"))
    parser.add_argument("--section", required=True, help="JSON")
    parser.add_argument("--status", type=Path, required=True, help="unix socket")
    given = parser.parse_args()
    try:
        process = (
            RelayProcess(AmtRelay.model_validate_json(given.section))
            if given.role == "relay"
            else GatewayProcess(AmtGateway.model_validate_json(given.section))
        )
        asyncio.run(run(process, given.status))
        given.status.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"amt {given.role}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
