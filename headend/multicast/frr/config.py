"""FRR configuration text as lines with their blocks, and the commands that lead from one to another. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Line = tuple[str, ...]
"""A line behind the blocks that it stands in: ("interface eth1", "ip pim"). A block's head is a line too."""

# What `show running-config` prints that is no configuration, and what belongs to others: the host's name and log, and
# the kernel's forwarding switch, which zebra only repeats.
_FOREIGN = re.compile(
    r"^(!|end$|exit$|exit-\S+$|Building configuration|Current configuration|frr (version|defaults) |hostname |"
    r"log |service |(no )?ip forwarding$|(no )?ipv6 forwarding$)"
)
_KEPT_BLOCK = re.compile(r"^interface ")  # FRR forgets the block itself once it is empty, and refuses to delete it


@dataclass(frozen=True, slots=True)
class ConfigCommand:
    parents: Line
    command: str

    def __str__(self) -> str:
        return " / ".join((*self.parents, self.command))


def parse_config(text: str) -> tuple[Line, ...]:
    """The lines of a configuration, in order, without those that are foreign to the router's function."""
    lines: list[Line] = []
    blocks: list[str] = []
    for raw in text.splitlines():
        content = raw.strip()
        if not content or _FOREIGN.match(content):
            continue
        depth = min(len(raw) - len(raw.lstrip(" ")), len(blocks))
        blocks[depth:] = [content]
        lines.append(tuple(blocks))
    return tuple(lines)


def format_config(lines: Iterable[Line]) -> str:
    """Configuration text of `lines`, which stand behind the heads of their blocks; each block ends with `exit`."""
    text: list[str] = []
    ordered = tuple(lines)
    heads = {line[:depth] for line in ordered for depth in range(1, len(line))}
    blocks: list[Line] = []
    for line in ordered:
        while blocks and line[: len(blocks[-1])] != blocks[-1]:
            text.append(" " * (len(blocks.pop()) - 1) + "exit")
        text.append(" " * (len(line) - 1) + line[-1])
        if line in heads:
            blocks.append(line)
    while blocks:
        text.append(" " * (len(blocks.pop()) - 1) + "exit")
    return "".join(f"{line}\n" for line in text)


def difference(have: Sequence[Line], want: Sequence[Line]) -> tuple[ConfigCommand, ...]:
    """The commands from `have` to `want`: removals first, innermost and last first; then additions in their order."""
    wanted, had = frozenset(want), frozenset(have)
    removed = [line for line in have if line not in wanted]
    gone_blocks = {line for line in removed if not _KEPT_BLOCK.match(line[-1])}
    commands = [
        ConfigCommand(line[:-1], _negated(line[-1]))
        for line in reversed(removed)
        if line in gone_blocks and not any(line[:depth] in gone_blocks for depth in range(1, len(line)))
    ]
    commands += [ConfigCommand(line[:-1], line[-1]) for line in want if line not in had]
    return tuple(commands)


def _negated(command: str) -> str:
    return command.removeprefix("no ") if command.startswith("no ") else f"no {command}"
