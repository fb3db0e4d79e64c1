"""What a keeper of pinned entries has to write, given what the kernel has. Pure.

The table belongs to a routing daemon that may hold the same (S, G): what it forwards stays, the pin adds to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Self

from headend.multicast.mfc.codec import Entry, numbers

Key = tuple[IPv4Address, IPv4Address]


@dataclass(frozen=True, slots=True)
class Pin:
    """(S, G) is to go out on the interfaces `outputs`, whoever asks."""

    source: IPv4Address
    group: IPv4Address
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join((str(self.source), str(self.group), *self.outputs))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`. Raises ValueError."""
        source, group, *outputs = text.split(",")
        if not outputs or not all(outputs):
            raise ValueError(f"a pin has outputs: {text}")
        return cls(IPv4Address(source), IPv4Address(group), tuple(outputs))

    @property
    def key(self) -> Key:
        return (self.source, self.group)


@dataclass(frozen=True, slots=True)
class Kernel:
    """`vifs`: interface -> number. `entries`: the resolved ones. `inputs`: source -> interfaces of its best routes."""

    vifs: Mapping[str, int]
    entries: Mapping[Key, Entry]
    inputs: Mapping[IPv4Address, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """`add`: entries to write, over what is there; `delete`: entries to take out."""

    add: tuple[Entry, ...] = ()
    delete: tuple[Entry, ...] = ()


def missing(pin: Pin, kernel: Kernel) -> str:
    """Why the pin does not hold right now, in an operator's words; empty = it holds."""
    outputs, inputs = numbers(kernel.vifs, pin.outputs), _inputs(pin, kernel)
    if outputs is None:
        return f"{', '.join(sorted(set(pin.outputs) - kernel.vifs.keys()))} takes no part in multicast routing"
    if not inputs:
        return f"there is no route to {pin.source} over an interface of multicast routing"
    entry = kernel.entries.get(pin.key)
    if entry is None or not entry.outputs >= outputs or entry.input not in inputs:
        return f"({pin.source}, {pin.group}) is not in the kernel's table as pinned"
    return ""


def _inputs(pin: Pin, kernel: Kernel) -> tuple[int, ...]:
    names = kernel.inputs.get(pin.source, ())
    return tuple(kernel.vifs[name] for name in names if name in kernel.vifs and name not in pin.outputs)


class Keeper:
    """Remembers what it wrote, to tell it from what the routing daemon wrote over it."""

    def __init__(self, pins: Collection[Pin]) -> None:
        self._pins = tuple(pins)
        self._written: dict[Key, Entry] = {}
        self._base: dict[Key, frozenset[int]] = {}

    def reconcile(self, kernel: Kernel) -> Change:
        add: list[Entry] = []
        delete: list[Entry] = []
        for pin in self._pins:
            live, written = kernel.entries.get(pin.key), self._written.get(pin.key)
            outputs, inputs = numbers(kernel.vifs, pin.outputs), _inputs(pin, kernel)
            if outputs is None or not inputs:
                # The numbers may soon mean other interfaces: nothing of ours may wait for that.
                if written is not None:
                    delete.append(written)
                    self._forget(pin.key)
                continue
            if live != written or written is None:
                self._base[pin.key] = live.outputs if live is not None else frozenset()
            incoming = live.input if live is not None and live.input in inputs else inputs[0]
            target = Entry(pin.source, pin.group, incoming, (outputs | self._base[pin.key]) - {incoming})
            if live != target:
                add.append(target)
            self._written[pin.key] = target
        return Change(tuple(add), tuple(delete))

    def release(self) -> Change:
        """Take the pins out again; what the daemon forwarded before goes on."""
        add: list[Entry] = []
        delete: list[Entry] = []
        for key, written in self._written.items():
            base = self._base.get(key, frozenset()) - {written.input}
            if base:
                add.append(Entry(written.source, written.group, written.input, base))
            else:
                delete.append(written)
        self._written.clear()
        self._base.clear()
        return Change(tuple(add), tuple(delete))

    def _forget(self, key: Key) -> None:
        self._written.pop(key, None)
        self._base.pop(key, None)
