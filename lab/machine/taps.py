"""A machine's cards in the place of a node's interfaces: each is bridged to a TAP inside the node's namespace.

What the node had of addresses on the interface goes: it is the machine's now. The bridge is a wire: no snooping, no
spanning tree, no address.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from lab.native.processes import Process, in_network_of
from nf.errors import DriverError, NotFoundError

_LONGEST = 15  # an interface's name (IFNAMSIZ without its NUL)


def tap_name(interface: str) -> str:
    """Raises DriverError when it does not fit into an interface's name."""
    return _name("t", interface)


def bridge_name(interface: str) -> str:
    return _name("w", interface)


def _name(letter: str, interface: str) -> str:
    name = f"{letter}-{interface}"
    if len(name) > _LONGEST:
        raise DriverError("this interface's name is too long to be bridged", where=interface, remedy="shorten it")
    return name


def attach(init: Process, interfaces: Sequence[str]) -> None:
    """Make a TAP for each of the node's `interfaces`; those that stand already stay.

    Raises NotFoundError when the node has no such interface, DriverError when the kernel refuses.
    """
    _inside(init, interfaces, _attach)


def detach(init: Process, interfaces: Sequence[str]) -> None:
    """Take the bridges and TAPs away again. Addresses do not come back. What is gone already is no error."""
    _inside(init, interfaces, _detach)


def _attach(netlink: Any, interface: str) -> None:
    bridge, tap = bridge_name(interface), tap_name(interface)
    outside = _index(netlink, interface)
    if outside is None:
        raise NotFoundError(f"no interface {interface}", where="machine", remedy="`nf lab status` lists them")
    if _index(netlink, bridge) is None:
        # The machine's frames are never the bridge's own business, hence no learning delay and no snooping.
        netlink.link("add", ifname=bridge, kind="bridge", br_mcast_snooping=0, br_stp_state=0, br_forward_delay=0)
    if _index(netlink, tap) is None:
        netlink.link("add", ifname=tap, kind="tuntap", mode="tap", tun_flags=0)
    middle, inside = _index(netlink, bridge), _index(netlink, tap)
    netlink.flush_addr(index=outside)
    for index in (outside, inside):
        netlink.link("set", index=index, master=middle)
    for index in (outside, inside, middle):
        netlink.link("set", index=index, state="up")


def _detach(netlink: Any, interface: str) -> None:
    for name in (tap_name(interface), bridge_name(interface)):
        index = _index(netlink, name)
        if index is not None:
            with contextlib.suppress(NetlinkError):
                netlink.link("del", index=index)


def _index(netlink: Any, name: str) -> int | None:
    found = netlink.link_lookup(ifname=name)
    return int(found[0]) if found else None


def _inside(init: Process, interfaces: Sequence[str], work: Callable[[Any, str], None]) -> None:
    def run() -> None:
        with IPRoute() as netlink:
            for name in interfaces:
                work(netlink, name)

    try:
        in_network_of(init, run)
    except (NetlinkError, OSError) as error:
        raise DriverError(f"the kernel refused: {error}", where="machine") from None
