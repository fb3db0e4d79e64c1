"""A path's trees as a picture (SVG): from the source on the left to the receivers on the right, legs in two colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from headend.multicast.explain import Line, PathPlan

_COLUMN, _ROW, _MARGIN, _HEAD, _FOOT = 230, 84, 40, 92, 44
_BOX_WIDTH, _BOX_HEIGHT = 110, 38
_COLOURS: Final = {None: "#2563a8", "a": "#2563a8", "b": "#d9730d", "output": "#3d8b57"}
_FULL, _BUSY = 0.9, 0.7
_KINDS: Final = {"source": "#e8f0fa", "router": "#ffffff", "pop": "#eef6f0", "receiver": "#f4f4f4"}


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    kind: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class _Arrow:
    """`place`: which of `places` parallel arrows between the same two boxes it is."""

    sender: str
    receiver: str
    leg: str | None
    line: Line
    place: int = 0
    places: int = 1


def svg_tree(found: PathPlan) -> str:
    """Every link that the path may take, with its load and capacity in Mbit/s. Good for some hundred routers."""
    arrows = _numbered(_arrows(found))
    columns = _columns(found, arrows)
    nodes = _placed(columns, arrows)
    width = 2 * _MARGIN + _BOX_WIDTH + _COLUMN * (len(columns) - 1)
    height = _HEAD + _FOOT + _ROW * max(len(names) for names in columns)
    body = [
        *(_draw_arrow(arrow, nodes) for arrow in arrows),
        *(_draw_label(arrow, nodes) for arrow in arrows),
        *(_draw_node(node) for node in nodes.values()),
    ]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
            'font-family="Helvetica, Arial, sans-serif">',
            f'<rect width="{width}" height="{height}" fill="#fcfcfb"/>',
            *_heads(),
            *_title(found),
            *body,
            *_legend(found, height),
            "</svg>",
            "",
        )
    )


def _arrows(found: PathPlan) -> list[_Arrow]:
    """A LAN's routers get one arrow each from its sender; only routers that the leg comes to."""
    arrows = []
    for leg in found.legs:
        routers = {router for router, _ in leg.stream.reach.routers}
        firsts = {router for router, senders in leg.stream.reach.routers if not senders}
        name = leg.stream.stream.leg
        for line in leg.lines:
            taking = firsts if line.hop == 0 else routers
            arrows += [_Arrow(line.sender, to, name, line) for to in line.receivers if to in taking]
    arrows += [_Arrow(line.sender, to, "output", line) for line in found.lans for to in line.receivers]
    return arrows


def _numbered(arrows: list[_Arrow]) -> list[_Arrow]:
    between: dict[frozenset[str], list[_Arrow]] = defaultdict(list)
    for arrow in arrows:
        between[frozenset((arrow.sender, arrow.receiver))].append(arrow)
    return [
        _Arrow(arrow.sender, arrow.receiver, arrow.leg, arrow.line, place, len(group))
        for group in between.values()
        for place, arrow in enumerate(group)
    ]


def _columns(found: PathPlan, arrows: Iterable[_Arrow]) -> list[list[str]]:
    """Sources, routers by their longest way from them, receivers."""
    depth: dict[str, int] = {one.stream.appliance: 0 for one in found.way.streams}
    for leg in found.legs:
        own: dict[str, int] = {}
        for router, senders in leg.stream.reach.routers:
            own[router] = 1 + max((own[sender] for sender in senders), default=0)
        for router, level in own.items():
            depth[router] = max(level, depth.get(router, 0))
    last = max(depth.values()) + 1
    for arrow in arrows:
        depth.setdefault(arrow.receiver, last)
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, level in sorted(depth.items()):
        columns[level].append(name)
    return [names for names in columns if names]


def _placed(columns: list[list[str]], arrows: list[_Arrow]) -> dict[str, _Node]:
    """Each column ordered by where its senders and receivers are, a few times there and back."""
    near: dict[str, set[str]] = defaultdict(set)
    for arrow in arrows:
        near[arrow.sender].add(arrow.receiver)
        near[arrow.receiver].add(arrow.sender)
    row = {name: float(place) for names in columns for place, name in enumerate(names)}
    tallest = max(len(names) for names in columns)
    for _ in range(4):
        for names in (*columns, *columns[::-1]):
            names.sort(key=lambda name: (sum(row[n] for n in near[name]) / max(1, len(near[name])), name))
            for place, name in enumerate(names):
                row[name] = place + (tallest - len(names)) / 2
    senders = {arrow.sender for arrow in arrows}
    giving = {arrow.sender for arrow in arrows if arrow.leg == "output"}
    receiving = {arrow.receiver for arrow in arrows if arrow.leg == "output"}
    nodes = {}
    for level, names in enumerate(columns):
        for name in names:
            kind = "source" if level == 0 and name in senders else "pop" if name in giving else "router"
            kind = "receiver" if name in receiving else kind
            x = _MARGIN + _BOX_WIDTH / 2 + _COLUMN * level
            nodes[name] = _Node(name, kind, x, _HEAD + _ROW * (row[name] + 0.5))
    return nodes


def _ends(arrow: _Arrow, nodes: Mapping[str, _Node]) -> tuple[float, float, float, float]:
    one, other = nodes[arrow.sender], nodes[arrow.receiver]
    beside = {"a": -6.0, "b": 6.0}.get(arrow.leg or "", 0.0)  # where both legs come to one box
    shift = (arrow.place - (arrow.places - 1) / 2) * 14 if arrow.places > 1 else beside
    half = _BOX_WIDTH / 2
    if one.x == other.x:  # within a column: bowed out to the right
        return one.x + half, one.y + shift, other.x + half, other.y + shift
    forward = 1 if one.x < other.x else -1
    return one.x + forward * half, one.y + shift, other.x - forward * (half + 7), other.y + shift


def _curve(arrow: _Arrow, nodes: Mapping[str, _Node]) -> tuple[tuple[float, float], ...]:
    x1, y1, x2, y2 = _ends(arrow, nodes)
    if nodes[arrow.sender].x == nodes[arrow.receiver].x:
        return (x1, y1), (x1 + 46, y1), (x2 + 46, y2), (x2 + 7, y2)
    bend = (x2 - x1) * 0.45
    return (x1, y1), (x1 + bend, y1), (x2 - bend, y2), (x2, y2)


def _draw_arrow(arrow: _Arrow, nodes: Mapping[str, _Node]) -> str:
    (x1, y1), (a, b), (c, d), (x2, y2) = _curve(arrow, nodes)
    colour = _COLOURS[arrow.leg]
    dash = ' stroke-dasharray="7 4"' if arrow.leg == "b" else ""
    return (
        f'<path d="M{x1:.1f} {y1:.1f} C{a:.1f} {b:.1f} {c:.1f} {d:.1f} {x2:.1f} {y2:.1f}" fill="none" '
        f'stroke="{colour}" stroke-width="2.2"{dash} marker-end="url(#{arrow.leg or "a"})"/>'
    )


def _draw_label(arrow: _Arrow, nodes: Mapping[str, _Node]) -> str:
    """At 38 % of the way, where curves of different senders are still apart."""
    points = _curve(arrow, nodes)
    t = 0.38
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x = sum(weight * point[0] for weight, point in zip(weights, points, strict=True))
    y = sum(weight * point[1] for weight, point in zip(weights, points, strict=True))
    line = arrow.line
    text = f"{_mbit(line.used_bps)} / {_mbit(line.capacity_bps)}" if line.capacity_bps else _mbit(line.used_bps)
    share = line.used_bps / line.capacity_bps if line.capacity_bps else 0.0
    ink = "#b42318" if share > _FULL else "#9a6700" if share > _BUSY else "#444444"
    width = 6.2 * len(text) + 8
    return (
        f"<g><title>{escape(line.link)}: {share:.0%}</title>"
        f'<rect x="{x - width / 2:.1f}" y="{y - 8:.1f}" width="{width:.1f}" height="16" rx="3" fill="#fcfcfb" '
        f'fill-opacity="0.92"/><text x="{x:.1f}" y="{y + 4:.1f}" font-size="11" text-anchor="middle" fill="{ink}">'
        f"{text}</text></g>"
    )


def _draw_node(node: _Node) -> str:
    x, y = node.x - _BOX_WIDTH / 2, node.y - _BOX_HEIGHT / 2
    weight = "600" if node.kind in ("source", "pop") else "400"
    size = 13 if len(node.name) <= 13 else max(7, 13 * 13 // len(node.name))
    return (
        f'<g><rect x="{x:.1f}" y="{y:.1f}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="7" '
        f'fill="{_KINDS[node.kind]}" stroke="#5b6470" stroke-width="1.3"/>'
        f'<text x="{node.x:.1f}" y="{node.y + 4.5:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="middle" fill="#1f2328">{escape(node.name)}</text></g>'
    )


def _heads() -> list[str]:
    return [
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="2" refY="5" markerWidth="5.5" markerHeight="5.5" '
            f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{_COLOURS[name]}"/></marker>'
            for name in ("a", "b", "output")
        ),
        "</defs>",
    ]


def _title(found: PathPlan) -> list[str]:
    way = found.way.way
    kind = {"none": "one tree", "hot-hot": "hot/hot, merged at the PoPs", "switch": "two encoders, switched"}
    groups = " · ".join(
        f"{'leg ' + one.stream.leg + ': ' if one.stream.leg else ''}({one.stream.source}, {one.stream.group})"
        for one in found.way.streams
    )
    if found.way.output is not None:
        groups += f" · output: {found.way.output[0]}"
    return [
        f'<text x="{_MARGIN}" y="38" font-size="19" font-weight="600" fill="#1f2328">{escape(way.name)}</text>',
        (
            f'<text x="{_MARGIN}" y="60" font-size="12.5" fill="#57606a">{kind[way.path.protection]}, '
            f"{_mbit(way.path.rate_bps)} Mbit/s</text>"
        ),
        f'<text x="{_MARGIN}" y="79" font-size="11.5" fill="#57606a">{escape(groups)}</text>',
    ]


def _legend(found: PathPlan, height: float) -> list[str]:
    names = [("a", "leg a"), ("b", "leg b")] if len(found.legs) == 2 else [("a", "tree")]
    parts, x = [], float(_MARGIN)
    for key, text in (*names, ("output", "to receivers")):
        dash = ' stroke-dasharray="7 4"' if key == "b" else ""
        parts.append(
            f'<path d="M{x:.0f} {height - 20:.0f} h30" stroke="{_COLOURS[key]}" stroke-width="2.5"{dash}/>'
            f'<text x="{x + 36:.0f}" y="{height - 16:.0f}" font-size="12" fill="#57606a">{text}</text>'
        )
        x += 60 + 7 * len(text)
    parts.append(
        f'<text x="{x + 8:.0f}" y="{height - 16:.0f}" font-size="12" fill="#57606a">'
        "on links: all IPTV / capacity, Mbit/s</text>"
    )
    return parts


def _mbit(bps: int) -> str:
    return f"{bps / 1e6:.1f}".removesuffix(".0")
