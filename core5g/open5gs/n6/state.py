"""What the kernel has, in the words of section `n6-network`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core5g.open5gs.documents import N6NetworkSection
from core5g.open5gs.n6 import policy
from core5g.open5gs.n6.nft import Rule, rules_of
from core5g.open5gs.n6.policy import Policy
from core5g.open5gs.n6.tun import IPV6_ALL, Tun, forwarding
from nf.contracts.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Observed:
    """`strange`: what stands in our table and is not ours."""

    links: Mapping[str, Tun]
    rules: tuple[Rule, ...] = ()
    strange: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def tuns(self) -> tuple[Tun, ...]:
        return tuple(sorted((link for link in self.links.values() if link.ours), key=lambda link: link.name))


def to_value(observed: Observed, read: Callable[[str], str | None]) -> JsonObject | None:
    """None when nothing of ours is there. `switches`: those of forwarding that are on; `read` tells one.

    The kernel does not say for what a device is, so a DNN is no part of it.
    """
    if not observed.tuns and not observed.rules and not observed.strange and observed.policy == Policy():
        return None
    tuns: list[Json] = [
        {"name": tun.name, "gateways": [*sorted(tun.addresses)], "mtu": tun.mtu, "up": tun.up, "tun": tun.tun}
        for tun in observed.tuns
    ]
    names = (*(f"{forwarding(name)}" for name in sorted(observed.links)), IPV6_ALL)
    return {
        "tuns": tuns,
        "masquerade": [[pool, leaving] for pool, leaving in observed.rules],
        "strange": [*observed.strange],
        "policy": observed.policy.to_json(),
        "switches": [name for name in names if read(name) == "1"],
    }


def wanted_switches(section: N6NetworkSection) -> tuple[str, ...]:
    ipv6 = any(gateway.version == 6 for tun in section.tuns for gateway in tun.gateways)
    names = (*(tun.name for tun in section.tuns), section.exit)
    return (*((IPV6_ALL,) if ipv6 else ()), *(forwarding(name) for name in names))


def differences(have: JsonObject | None, want: N6NetworkSection | None) -> tuple[str, ...]:
    """In an operator's words; empty = as it should be."""
    if want is None:
        return () if have is None else ("the UPF's TUN devices are still there",)
    if have is None:
        return ("the UPF has no TUN device",)
    listed = have.get("tuns")
    standing = {str(one["name"]): one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)}
    told = [f"{name} is still there" for name in sorted(standing.keys() - {tun.name for tun in want.tuns})]
    for tun in want.tuns:
        found = standing.get(tun.name)
        if found is None:
            told.append(f"{tun.name} is not there")
            continue
        gateways = sorted(map(str, tun.gateways))
        if found.get("gateways") != gateways:
            told.append(f"{tun.name} has other addresses than {', '.join(gateways)}")
        if not found.get("up"):
            told.append(f"{tun.name} is down")
        if found.get("mtu") != want.mtu:
            told.append(f"{tun.name} has an MTU of {found.get('mtu')}, not {want.mtu}")
    rules: list[Json] = [[pool, leaving] for pool, leaving in rules_of(want.masquerade, want.exit)]
    if have.get("masquerade") != rules:
        told.append(f"other pools are masqueraded at {want.exit} than wanted")
    strange = have.get("strange")
    told += [f"{one} was added by hand" for one in (strange if isinstance(strange, list) else ())]
    told += policy.differences(Policy.from_json(have["policy"]), want)
    on = have.get("switches")
    off = [name for name in wanted_switches(want) if name not in (on if isinstance(on, list) else ())]
    told += [f"net/{name} is off" for name in off]
    return tuple(told)
