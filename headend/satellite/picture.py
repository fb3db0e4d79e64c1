"""The spectrum of a transponder as a picture: text for terminals, SVG for pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from headend.satellite.transponder import FLOOR_DB, Carrier, Transponder, sampled

_BLOCKS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = 8
_TOP_DB = 3.0
_SVG_FONT = 'font-family="sans-serif" font-size="11"'
_SVG_DASHED = 'stroke="#a33" stroke-dasharray="4"'
_SVG_WIDTH, _SVG_HEIGHT, _SVG_EDGE = 800, 240, 30


def text_picture(transponder: Transponder, carriers: Sequence[Carrier], *, columns: int = 72, rows: int = 8) -> str:
    """The spectrum in `columns` x `rows` characters (40 dB), the transponder's edges (|), a line for each carrier."""
    points = sampled(transponder, carriers, columns)
    heights = [round(_share(level) * rows * _EIGHTHS) for _, level in points]
    lines = []
    for row in reversed(range(rows)):
        filled = [min(_EIGHTHS, max(0, height - row * _EIGHTHS)) for height in heights]
        lines.append("".join(_BLOCKS[eighths] for eighths in filled).rstrip())
    low_hz, high_hz = points[0][0], points[-1][0]
    ruler = ["─"] * columns
    for edge_hz in (transponder.low_hz, transponder.high_hz):
        ruler[round((edge_hz - low_hz) / (high_hz - low_hz) * (columns - 1))] = "|"
    lines.append("".join(ruler))
    lines.append(f"{transponder.name} {transponder.low_hz / 1e6:.3f} to {transponder.high_hz / 1e6:.3f} MHz")
    lines += [f"  {_label(carrier)}" for carrier in sorted(carriers, key=lambda one: one.centre_hz)]
    return "\n".join(lines) + "\n"


def svg_picture(transponder: Transponder, carriers: Sequence[Carrier]) -> str:
    """An SVG document of 800 x 240: spectrum, transponder's edges and guards, carriers by name."""
    points = sampled(transponder, carriers, 401)
    low_hz, high_hz = points[0][0], points[-1][0]

    def x(hz: float) -> float:
        return _SVG_EDGE + (hz - low_hz) / (high_hz - low_hz) * (_SVG_WIDTH - 2 * _SVG_EDGE)

    def y(level_db: float) -> float:
        return _SVG_HEIGHT - _SVG_EDGE - _share(level_db) * (_SVG_HEIGHT - 2 * _SVG_EDGE)

    floor = y(FLOOR_DB)
    outline = " ".join(f"{x(hz):.1f},{y(level):.1f}" for hz, level in points)
    guards = [
        (transponder.low_hz, transponder.low_hz + transponder.guard_hz),
        (transponder.high_hz - transponder.guard_hz, transponder.high_hz),
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SVG_WIDTH} {_SVG_HEIGHT}" role="img" {_SVG_FONT}>',
        f"<title>{escape(f'Spectrum of {transponder.name}')}</title>",
    ]
    parts += [
        f'<rect x="{x(left):.1f}" y="{_SVG_EDGE}" width="{x(right) - x(left):.1f}" height="{floor - _SVG_EDGE:.1f}" '
        f'fill="#eee"/>'
        for left, right in guards
    ]
    area = f"{x(low_hz):.1f},{floor:.1f} {outline} {x(high_hz):.1f},{floor:.1f}"
    parts.append(f'<polygon points="{area}" fill="#9bc" stroke="#357"/>')
    parts += [
        f'<line x1="{x(hz):.1f}" y1="{_SVG_EDGE}" x2="{x(hz):.1f}" y2="{floor:.1f}" {_SVG_DASHED}/>'
        f'<text x="{x(hz):.1f}" y="{_SVG_HEIGHT - 10}" text-anchor="middle">{hz / 1e6:.3f} MHz</text>'
        for hz in (transponder.low_hz, transponder.high_hz)
    ]
    parts += [
        f'<text x="{x(carrier.centre_hz):.1f}" y="{_SVG_EDGE - 8}" text-anchor="middle">{escape(carrier.name)}'
        f"<title>{escape(_label(carrier))}</title></text>"
        for carrier in carriers
    ]
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _share(level_db: float) -> float:
    """0 at the floor, 1 at the top of the picture."""
    return max(0.0, min(1.0, (level_db - FLOOR_DB) / (_TOP_DB - FLOOR_DB)))


def _label(carrier: Carrier) -> str:
    return (
        f"{carrier.name}: {carrier.centre_hz / 1e6:.3f} MHz, {carrier.symbol_rate_baud / 1e6:.3f} Msym/s, "
        f"roll-off {carrier.roll_off:.2f}, {carrier.occupied_hz / 1e6:.3f} MHz"
    )
