"""Quantities as people read them. Units as in the documents; times are local."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

_STYLES = {
    "up": "green",
    "yes": "green",
    "online": "green",
    "confirmed": "green",
    "current": "bold green",
    "intact": "green",
    "ok": "green",
    "down": "bold red",
    "offline": "red",
    "broken": "bold red",
    "critical": "bold red",
    "major": "red",
    "minor": "yellow",
    "warning": "yellow",
    "refused": "yellow",
    "undone": "yellow",
    "held": "yellow",
    "unknown": "yellow",
    "degraded": "yellow",
    "no": "yellow",
    "cleared": "dim",
}


def word(text: str) -> Text:
    """A verdict in its colour."""
    return Text(text, style=_STYLES.get(text.lower(), ""))


def rate(bps: float) -> str:
    """1_024_000 -> `1.02 Mbit/s`."""
    for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bps >= factor:
            return f"{bps / factor:.2f} {unit}"
    return f"{bps:.0f} bit/s"


def milliseconds(value_ms: float | None) -> str:
    """None is a dash; from ten seconds on in seconds, from two minutes on in minutes."""
    if value_ms is None:
        return "-"
    if value_ms >= 120_000:
        return f"{value_ms / 60_000:.0f} min"
    if value_ms >= 10_000:
        return f"{value_ms / 1000:.1f} s"
    return f"{value_ms:.0f} ms"


def when(seconds: float) -> str:
    """Seconds since the epoch as local time with its offset (RFC 3339, section 5.6); zero is a dash."""
    return datetime.fromtimestamp(int(seconds)).astimezone().isoformat(" ") if seconds else "-"


def name_of(spiffe_id: str) -> str:
    """`spiffe://example/operator/anna` -> `operator/anna`."""
    parts = spiffe_id.removeprefix("spiffe://").split("/", 1)
    return parts[1] if spiffe_id.startswith("spiffe://") and len(parts) == 2 else spiffe_id


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
