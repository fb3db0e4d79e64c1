"""Which UPF an Open5GS SMF gives to a session, and which address: by the DNN alone, whatever the UPF (issue 2557)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from lab.mobile.config import Pool, strings
from lab.mobile.node import Peer

_PREFIX_BITS = 64


@dataclass
class Upf:
    """A peer of `smf.pfcp.client.upf`. What it is for is an OR: any one match of DNN, TAC or cell is enough."""

    peer: Peer
    dnns: tuple[str, ...] = ()
    tacs: tuple[range, ...] = ()
    cells: tuple[int, ...] = ()
    associated: bool = False
    rts: int = 0
    next_at: float = 0.0
    asking: bool = False

    @classmethod
    def of(cls, entry: dict[str, Any], port: int) -> list[Upf]:
        """An entry may hold several addresses."""
        cells = (*strings(entry.get("e_cell_id")), *strings(entry.get("nr_cell_id")))
        return [
            cls(
                (address, int(entry.get("port", port))),
                strings(entry.get("dnn")),
                tuple(map(_tacs, strings(entry.get("tac")))),
                tuple(int(cell, 16) for cell in cells),
            )
            for address in strings(entry.get("address"))
        ]

    def suits(self, dnn: str, tac: int | None, cell: int | None) -> bool:
        by_dnn = any(own.lower() == dnn.lower() for own in self.dnns)
        by_tac = tac is not None and any(tac in tacs for tacs in self.tacs)
        return by_dnn or by_tac or (cell is not None and cell in self.cells)


def _tacs(text: str) -> range:
    low, _, high = text.partition("-")
    return range(int(low, 0), int(high or low, 0) + 1)


@dataclass
class Selection:
    """Round robin among those that suit; when none does among all that are associated, unless `no_round_robin`,
    and then the first of the list, associated or not."""

    upfs: list[Upf]
    no_round_robin: bool = False
    _at: int = -1

    def choose(self, dnn: str, tac: int | None, cell: int | None) -> Upf | None:
        order = [(self._at + 1 + step) % len(self.upfs) for step in range(len(self.upfs))]
        ready = [at for at in order if self.upfs[at].associated]
        suiting = [at for at in ready if self.upfs[at].suits(dnn, tac, cell)]
        if not suiting and self.no_round_robin:
            return self.upfs[0] if self.upfs else None
        for at in suiting or ready:
            self._at = at
            return self.upfs[at]
        return None


@dataclass
class Addresses:
    """Of the `session` pools: the lowest that is free, from the second on."""

    pools: list[Pool]
    _given: set[IPv4Address | IPv6Address] = field(default_factory=set)
    _from: dict[int, int] = field(default_factory=dict)

    def take(self, dnn: str, version: int) -> IPv4Address | IPv6Address | None:
        """IPv6: an address in a /64 of its own. None when no pool serves the DNN, or it is used up."""
        fits = [pool for pool in self.pools if pool.network is not None and pool.network.version == version]
        named = [pool for pool in fits if pool.dnn is not None and pool.dnn.lower() == dnn.lower()]
        for pool in named or [pool for pool in fits if pool.dnn is None]:
            step = 1 if version == 4 else 1 << _PREFIX_BITS
            first, last = int(pool.network.network_address), int(pool.network.broadcast_address)
            lowest = self._from.get(id(pool), first + 2 * step if version == 4 else first + step)
            for number in range(lowest, last + 1 - (version == 4), step):
                address = IPv4Address(number) if version == 4 else IPv6Address(number + 1)
                if address not in self._given and address != pool.gateway:
                    self._from[id(pool)] = number + step
                    self._given.add(address)
                    return address
        return None

    def claim(self, address: IPv4Address | IPv6Address) -> bool:
        """A static one, of a subscriber. False when another has it."""
        if address in self._given:
            return False
        self._given.add(address)
        return True

    def free(self, *addresses: IPv4Address | IPv6Address | None) -> None:
        self._given.difference_update(address for address in addresses if address is not None)
        self._from.clear()
