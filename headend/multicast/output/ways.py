"""By which interface the router takes each (S, G): the kernel's multicast routing cache and its interfaces."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

_CACHE, _INTERFACES = Path("/proc/self/net/ip_mr_cache"), Path("/proc/self/net/ip_mr_vif")

Ways = Mapping[tuple[IPv4Address, IPv4Address], str]
"""(source, group) -> name of the interface."""


def read() -> Ways:
    """Nothing where no multicast routing runs."""
    try:
        return parse(_CACHE.read_text(), _INTERFACES.read_text())
    except OSError:
        return {}


def parse(cache: str, interfaces: str) -> dict[tuple[IPv4Address, IPv4Address], str]:
    """Of the two files of /proc/net (Linux net/ipv4/ipmr.c). Lines that are no entry are left out."""
    names = {}
    for line in interfaces.splitlines():
        number, name, *_ = (*line.split(), "", "")
        if number.isdecimal() and name:
            names[number] = name
    found = {}
    for line in cache.splitlines():
        group, source, interface, *_ = (*line.split(), "", "", "")
        if interface in names and len(group) == len(source) == 8:
            try:
                found[_address(source), _address(group)] = names[interface]
            except ValueError:
                continue
    return found


def _address(text: str) -> IPv4Address:
    # Network-order words, printed as numbers of the machine.
    return IPv4Address(int.from_bytes(bytes.fromhex(text), sys.byteorder))
