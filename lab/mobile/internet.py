"""The internet behind a default N6, as the lab has it: `python -m lab.mobile.internet --cdn PREFIX=EDGE ...`.

It has a host of its own, `--host`: its HTTP server names itself and who asks, and logs that to `--log` as JSON lines.
It knows the CDN from afar: what is for the CDN's prefix goes by the router `--via` to another place's edge, whose
address is the prefix's second half of `--cdn`. Names are answered as `--name` says (UDP, A records), everybody's.
"""

from __future__ import annotations

import argparse
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_TTL_S = 5
_LIMIT_S = 60
_RULES = """table ip lab_internet
delete table ip lab_internet
table ip lab_internet {{
    chain far {{
        type nat hook prerouting priority dstnat;
        ip daddr {prefix} counter dnat to {edge}
    }}
    chain near {{
        type nat hook postrouting priority srcnat;
        ip daddr {edge} counter masquerade
    }}
}}
"""


def commands(cdn: tuple[IPv4Network, IPv4Address], via: IPv4Address, host: IPv4Address) -> list[tuple[str, ...]]:
    """What makes a machine the internet, but for the rules of nftables."""
    return [
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
        ("ip", "address", "replace", f"{host}/32", "dev", "lo"),
        ("ip", "route", "replace", f"{cdn[1]}/32", "via", str(via)),
    ]


def rules(cdn: tuple[IPv4Network, IPv4Address]) -> str:
    return _RULES.format(prefix=cdn[0], edge=cdn[1])


def answer(data: bytes, names: dict[str, IPv4Address]) -> bytes | None:
    """To a DNS query (RFC 1035); None to what is none."""
    try:
        query = dns.message.from_wire(data)
        (question,) = query.question
    except (dns.exception.DNSException, ValueError):
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    found = names.get(question.name.to_text(omit_final_dot=True).lower())
    if found is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(question.name, _TTL_S, "IN", "A", str(found)))
    return response.to_wire()


def _host(host: IPv4Address, log: Path) -> ThreadingHTTPServer:
    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with log.open("a", encoding="utf-8") as file:
                line = {"at": time.time(), "from": self.client_address[0], "path": self.path}
                file.write(json.dumps(line) + "\n")
            body = f"the internet, {host}; you are {self.client_address[0]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """In the log of its own."""

    return ThreadingHTTPServer((str(host), 80), Request)


def _resolver(names: dict[str, IPv4Address]) -> socketserver.ThreadingUDPServer:
    class Query(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            told = answer(data, names)
            if told is not None:
                sock.sendto(told, self.client_address)

    return socketserver.ThreadingUDPServer(("", 53), Query)


def _cdn(text: str) -> tuple[IPv4Network, IPv4Address]:
    prefix, _, edge = text.partition("=")
    return IPv4Network(prefix), IPv4Address(edge)


def _name(text: str) -> tuple[str, IPv4Address]:
    name, _, address = text.partition("=")
    return name.lower(), IPv4Address(address)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="lab.mobile.internet", description="The lab's internet.")
    parser.add_argument("--cdn", type=_cdn, required=True, help="PREFIX=EDGE: where the CDN is for those who are far")
    parser.add_argument("--via", type=IPv4Address, required=True, help="router to that edge")
    parser.add_argument("--host", type=IPv4Address, required=True, help="address of the host that names itself")
    parser.add_argument("--name", type=_name, action="append", default=[], help="NAME=ADDRESS of the DNS")
    parser.add_argument("--log", type=Path, default=Path("/var/log/internet.log"))
    options = parser.parse_args(arguments)
    for command in commands(options.cdn, options.via, options.host):
        subprocess.run(command, timeout=_LIMIT_S, check=True)
    subprocess.run(("nft", "-f", "-"), input=rules(options.cdn), text=True, timeout=_LIMIT_S, check=True)
    with _host(options.host, options.log) as host, _resolver(dict(options.name)) as resolver:
        threading.Thread(target=resolver.serve_forever, daemon=True).start()
        sys.stderr.write(f"the internet: host {options.host}, the CDN {options.cdn[0]} at {options.cdn[1]}\n")
        host.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
