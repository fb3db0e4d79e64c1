"""The appliance's rules in a namespace of their own, met by a neighbour on the management and one on the data plane."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FILES = Path(__file__).parents[3] / "images/files"
ROLES = ("core", "headend", "pop")

pytestmark = [pytest.mark.root, pytest.mark.daemon]

_SERVE = """
import select, socket, sys
both = {"family": socket.AF_INET6, "dualstack_ipv6": True}
listening = [socket.create_server(("::", int(port)), **both) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for sock in select.select(listening, [], [])[0]:
        sock.accept()[0].close()
"""
_TRY = """
import socket, sys
for number, port in enumerate(sys.argv[2:]):
    try:
        socket.create_connection((sys.argv[1], int(port)), 1).close()
        print(port)
    except OSError:
        pass
"""


def rules(role: str, place: Path) -> Path:
    """nftables.conf with the role's own part where it is in this tree."""
    here = str(FILES / role / "usr/lib/nf/firewall.d")
    file = place / "nftables.conf"
    file.write_text((FILES / "common/etc/nftables.conf").read_text().replace("/usr/lib/nf/firewall.d", here))
    return file


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def box() -> Iterator[str]:
    """A namespace with `mgmt` (10.9.0.1, its neighbour in `<box>m`) and `data` (10.8.0.1, `<box>d`)."""
    name = f"nff{uuid.uuid4().hex[:6]}"
    with contextlib.ExitStack() as stack:
        for space in (name, f"{name}m", f"{name}d"):
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
            ip("-n", space, "link", "set", "lo", "up")
        for port, peer, net in (("mgmt", f"{name}m", "10.9.0"), ("data", f"{name}d", "10.8.0")):
            ip("link", "add", port, "netns", name, "type", "veth", "peer", "name", "eth0", "netns", peer)
            for space, link, address in ((name, port, f"{net}.1/24"), (peer, "eth0", f"{net}.2/24")):
                ip("-n", space, "address", "add", address, "dev", link)
                ip("-n", space, "link", "set", link, "up")
        yield name


def run(space: str, *argv: str) -> str:
    return subprocess.run(["ip", "netns", "exec", space, *argv], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("role", ROLES)
def test_the_rules_load_twice_and_leave_other_tables_alone(
    role: str, box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("nft")
    run(box, "nft", "add", "table", "inet", "somebody")
    for _ in range(2):
        run(box, "nft", "-f", str(rules(role, tmp_path)))
    assert "table inet somebody" in run(box, "nft", "list", "tables")


@contextlib.contextmanager
def serving(space: str, *ports: str) -> Iterator[None]:
    argv = ["ip", "netns", "exec", space, "python3", "-c", _SERVE, *ports]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.kill()


def reached(space: str, address: str, *ports: str) -> list[str]:
    return run(space, "python3", "-c", _TRY, address, *ports).split()


def test_management_is_closed_and_the_data_plane_has_the_ports_of_the_role(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("nft", "python3")
    run(box, "nft", "-f", str(rules("pop", tmp_path)))
    run(box, "nft", "add", "element", "inet", "nf-host", "management", '{ "mgmt" }')
    ports = ("22", "80", "9000")
    with serving(box, *ports):
        assert reached(f"{box}m", "10.9.0.1", *ports) == []
        assert reached(f"{box}d", "10.8.0.1", *ports) == ["80"]
        run(box, "nft", "add", "element", "inet", "nf-host", "management_tcp", "{ 22 }")
        assert reached(f"{box}m", "10.9.0.1", *ports) == ["22"]
        assert reached(box, "10.8.0.1", *ports) == list(ports), "it reaches itself"
    for neighbour, address in (("m", "10.9.0.2"), ("d", "10.8.0.2")):
        with serving(f"{box}{neighbour}", "443"):
            assert reached(box, address, "443") == ["443"], "answers come back"


def test_the_ports_of_the_role_are_those_of_ipv6_too_for_ues_as_well(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("nft", "python3")
    run(box, "nft", "-f", str(rules("pop", tmp_path)))
    for face in ("data", "ogstun2"):
        if face != "data":
            ip("-n", box, "link", "set", "data", "down")
            ip("-n", box, "link", "set", "data", "name", face)
        ip("-n", box, "address", "flush", "dev", face, "scope", "global")
        ip("-n", box, "link", "set", face, "up")
        ip("-n", box, "address", "add", "2001:db8:8::1/64", "dev", face, "nodad")
        ip("-n", f"{box}d", "address", "replace", "2001:db8:8::2/64", "dev", "eth0", "nodad")
        with serving(box, "22", "80", "443", "9000"):
            assert reached(f"{box}d", "2001:db8:8::1", "22", "80", "443", "9000") == ["80", "443"]


def test_nothing_is_routed_between_management_and_data(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("nft", "python3")
    run(box, "sysctl", "-q", "net.ipv4.ip_forward=1")
    run(f"{box}d", "ip", "route", "add", "default", "via", "10.8.0.1")
    run(f"{box}m", "ip", "route", "add", "default", "via", "10.9.0.1")
    with serving(f"{box}m", "443"):
        assert reached(f"{box}d", "10.9.0.2", "443") == ["443"]
        run(box, "nft", "-f", str(rules("pop", tmp_path)))
        run(box, "nft", "add", "element", "inet", "nf-host", "management", '{ "mgmt" }')
        assert reached(f"{box}d", "10.9.0.2", "443") == []


def test_interception_has_its_own_interface_and_nothing_passes_through_it(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("nft", "python3")
    ip("link", "add", "li0", "netns", box, "type", "veth", "peer", "name", "eth1", "netns", f"{box}m")
    for space, link, address in ((box, "li0", "10.7.0.1/24"), (f"{box}m", "eth1", "10.7.0.2/24")):
        ip("-n", space, "address", "add", address, "dev", link)
        ip("-n", space, "link", "set", link, "up")
    run(box, "nft", "-f", str(rules("pop", tmp_path)))
    for table, element in (
        ("interception", '{ "li0" }'),
        ("interception_tcp", "{ 7801 }"),
        ("interception_udp", "{ 26000-29999 }"),
    ):
        run(box, "nft", "add", "element", "inet", "nf-host", table, element)
    with serving(box, "80", "7801"):
        assert reached(f"{box}m", "10.7.0.1", "80", "7801") == ["7801"]
        assert reached(f"{box}d", "10.8.0.1", "80", "7801") == ["80"]
    with serving(f"{box}m", "7802"):
        assert reached(box, "10.7.0.2", "7802") == ["7802"], "it connects by itself"
        run(box, "sysctl", "-q", "net.ipv4.ip_forward=1")
        run(f"{box}d", "ip", "route", "add", "default", "via", "10.8.0.1")
        run(f"{box}m", "ip", "route", "add", "default", "via", "10.7.0.1")
        assert reached(f"{box}d", "10.7.0.2", "7802") == []
    assert "counter" not in run(box, "nft", "list", "chain", "inet", "nf-host", "interception")


_LISTEN = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    print(sock.recv(100).decode(), flush=True)
"""
_SEND = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
"""


def test_ues_reach_names_and_services_and_nothing_of_the_core(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    """A veth named as the UPF's device stands for it."""
    require_programs("nft", "python3")
    ip("link", "add", "ogstun", "netns", box, "type", "veth", "peer", "name", "tun0", "netns", f"{box}d")
    for space, link, address in ((box, "ogstun", "10.45.0.1/16"), (f"{box}d", "tun0", "10.45.0.2/16")):
        ip("-n", space, "address", "add", address, "dev", link)
        ip("-n", space, "link", "set", link, "up")
    run(box, "nft", "-f", str(rules("core", tmp_path)))
    run(box, "nft", "add", "element", "inet", "nf-host", "management", '{ "mgmt" }')
    ports = ("53", "5060", "6081", "7777", "9091")
    with serving(box, *ports):
        assert reached(f"{box}d", "10.45.0.1", *ports) == ["53", "5060"]
        assert reached(f"{box}d", "10.8.0.1", *ports) == ["5060", "6081", "7777", "9091"]
        assert reached(f"{box}m", "10.9.0.1", *ports) == []
    argv = ["ip", "netns", "exec", box, "python3", "-c", _LISTEN, "8805"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "ready\n"
            for address, word in (("10.45.0.1", "ue"), ("10.8.0.1", "smf")):
                run(f"{box}d", "python3", "-c", _SEND, address, "8805", word)
            assert listener.stdout.readline() == "smf\n"
        finally:
            listener.kill()


_ANSWER = """
import socket, threading
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", 443))
listening = socket.create_server(("0.0.0.0", 443))
def serve():
    while True:
        connection, (host, _) = listening.accept()
        connection.sendall(host.encode())
        connection.close()
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
while True:
    _, peer = datagrams.recvfrom(100)
    try:
        datagrams.sendto(peer[0].encode(), peer)
    except OSError:
        pass
"""
_ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.sendto(b"who", (sys.argv[1], 443))
    print(sock.recv(100).decode())
with socket.create_connection((sys.argv[1], 443), 5) as sock:
    print(sock.recv(100).decode())
"""


def test_what_ues_send_to_served_ports_and_by_udp_is_translated(
    box: str, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    """Break-out with NAT at a PoP: its own ports and UDP are not tracked, those of UEs are."""
    require_programs("nft", "python3", "sysctl")
    ue = f"{box}m"
    ip("link", "add", "ogstun", "netns", box, "type", "veth", "peer", "name", "tun0", "netns", ue)
    for space, link, address in ((box, "ogstun", "10.45.0.1/16"), (ue, "tun0", "10.45.0.2/16")):
        ip("-n", space, "address", "add", address, "dev", link)
        ip("-n", space, "link", "set", link, "up")
    run(ue, "ip", "route", "add", "10.8.0.0/24", "via", "10.45.0.1")
    run(box, "sysctl", "-q", "net.ipv4.ip_forward=1")
    run(box, "nft", "-f", str(rules("pop", tmp_path)))
    run(box, "nft", "add", "element", "inet", "nf-host", "management", '{ "mgmt" }')
    table = tmp_path / "driver.nft"
    table.write_text(
        "table inet driver {\n"
        " chain leaving { type nat hook postrouting priority srcnat; policy accept;\n"
        '  ip saddr 10.45.0.0/16 oifname "data" masquerade\n }\n'
        " chain answers { type filter hook prerouting priority -310; policy accept;\n"
        '  iifname "data" ct zone set 0\n }\n}\n'
    )
    run(box, "nft", "-f", str(table))
    argv = ["ip", "netns", "exec", f"{box}d", "python3", "-c", _ANSWER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            assert run(ue, "python3", "-c", _ASK, "10.8.0.2").split() == ["10.8.0.1", "10.8.0.1"]
        finally:
            server.kill()
