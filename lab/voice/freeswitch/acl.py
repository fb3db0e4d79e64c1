"""Network lists: acl.conf, those that FreeSWITCH makes itself, and a CIDR in place of a name."""

from __future__ import annotations

import ipaddress

from lab.voice.freeswitch.xmlconf import Registry, true

_AUTO = {
    "loopback.auto": ("127.0.0.0/8", "::1/128"),
    "localnet.auto": ("127.0.0.0/8", "::1/128"),
    "rfc1918.auto": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    "nat.auto": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    "rfc6598.auto": ("100.64.0.0/10",),
    "any_v4.auto": ("0.0.0.0/0",),
    "any_v6.auto": ("::/0",),
}


def allowed(registry: Registry, name: str, address: str) -> bool:
    """Whether the list, or the CIDR, `name` allows the address. A list that is not known allows none."""
    if "/" in name:
        return _within(address, name)
    if name in _AUTO:
        return any(_within(address, one) for one in _AUTO[name])
    config = registry.configuration("acl.conf")
    found = config.find(f"network-lists/list[@name='{name}']") if config is not None else None
    if found is None:
        return name == "domains" and _of_domains(registry, address, "")
    verdict, best = true(found.get("default")), -1
    for node in found.iterfind("node"):
        allow = true(node.get("type"))
        cidr, host = node.get("cidr", ""), node.get("host", "")
        if node.get("domain") and _of_domains(registry, address, node.get("domain", "")):
            return allow
        for one in [*cidr.split(","), *([f"{host}/{node.get('mask', '32')}"] if host else [])]:
            if one.strip() and _within(address, one.strip()):
                length = ipaddress.ip_network(one.strip(), strict=False).prefixlen
                if length >= best:  # the closest one decides
                    verdict, best = allow, length
    return verdict


def _within(address: str, cidr: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False


def _of_domains(registry: Registry, address: str, domain: str) -> bool:
    """Users of the directory may have cidr="..."."""
    for one in registry.domains():
        if domain in ("", one.get("name")):
            for user in one.iter("user"):
                if any(_within(address, cidr.strip()) for cidr in user.get("cidr", "").split(",") if cidr.strip()):
                    return True
    return False
