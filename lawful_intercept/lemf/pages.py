"""HTML of the portal. Everything that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from lawful_intercept.handover.decoder import Content, Iri, PsPdu
from lawful_intercept.handover.threegpp import read_iri
from lawful_intercept.handover.values import DataType, IriType
from lawful_intercept.lemf.sessions import Archive, Session, StreamState
from nf.errors import InputError

MESSAGES: Final = 500
"""Of a session's page; the package has all."""
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5d9de; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; white-space: pre-wrap; word-break: break-word; }
.bad { color: #a40e26; font-weight: 600; } .good { color: #116329; }
audio { width: 100%; }
"""


def moment(at_ns: int) -> str:
    """UTC, to the millisecond."""
    try:
        when = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return "?"
    return f"{when:%Y-%m-%d %H:%M:%S}.{at_ns // 1_000_000 % 1000:03d}Z"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"></head><body>{body}</body></html>'
    )


def problem(text: str) -> str:
    return _page("LEMF", f'<h1>LEMF</h1><p class="bad">{escape(text or "this could not be done")}</p>')


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{''.join(rows)}</table>"


def _cells(*cells: str | int) -> str:
    return "".join(f'<td class="n">{cell}</td>' if isinstance(cell, int) else f"<td>{cell}</td>" for cell in cells)


def state_of(session: Session) -> str:
    """In a word, for people."""
    if not all(stream.whole for stream in session.streams):
        return "incomplete"
    return "whole, ended" if session.ended else "whole so far"


def _marked(text: str) -> str:
    return f'<span class="{"bad" if text == "incomplete" else "good"}">{text}</span>'


def sessions(
    found: Sequence[Session],
    *,
    messages: Sequence[tuple[int, int, str]],
    unreadable: int,
    offsets: tuple[int | None, int | None],
) -> str:
    """`offsets`: of the page before and after this one."""

    def received(session: Session, data_type: DataType) -> int:
        return sum(stream.received for stream in session.streams if stream.data_type is data_type)

    rows = (
        f'<tr><td><a href="/sessions/{one.number}">{one.number}</a></td>'
        + _cells(
            escape(one.liid_text),
            "" if one.cin is None else one.cin,
            moment(one.first_ns),
            moment(one.last_ns),
            received(one, DataType.IRI),
            received(one, DataType.CC),
            _marked(state_of(one)),
        )
        + "</tr>"
        for one in found
    )
    body = "<h1>Sessions</h1>" + _table(("", "LIID", "CIN", "first", "last", "IRI", "CC", "state"), rows)
    names = ("newer", "older")
    links = (
        f'<a href="/?offset={max(0, to)}">{name}</a>' for name, to in zip(names, offsets, strict=True) if to is not None
    )
    body += f"<p>{' '.join(links)}</p>"
    if unreadable:
        body += f'<p class="bad">{unreadable} PDUs could not be read; they are stored.</p>'
    if messages:
        told = (
            f"<tr>{_cells(moment(at), 'error' if priority == 1 else 'information', escape(text))}</tr>"
            for at, priority, text in messages
        )
        body += "<h2>Operators' messages</h2>" + _table(("received", "", "message"), told)
    return _page("Sessions", body)


def _stream(stream: StreamState) -> str:
    gaps = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in stream.missing[:20])
    more = " and more" if len(stream.missing) > 20 or stream.forgotten else ""
    checks = ", ".join(f"{count} {escape(state)}" for state, count in sorted(stream.checks.items())) or "none"
    missing = f"{stream.missing_count} ({gaps}{more})" if stream.missing_count else "none"
    return (
        f"<tr>{_cells(stream.data_type.name, stream.received, missing, stream.again, stream.conflicts, stream.sealed)}"
        f"{_cells(checks, stream.hashed, _marked('whole' if stream.whole else 'incomplete'))}</tr>"
    )


def iri_text(iri: Iri) -> tuple[str, str]:
    """(type, what it says), for people."""
    kind = IriType(iri.iri_type).name.lower() if iri.iri_type in tuple(IriType) else "?"
    if iri.content in {Content.SIP, Content.SIP_IRI_ONLY}:
        return kind, iri.octets.decode(errors="replace")
    if iri.content is not Content.THREEGPP:
        return kind, iri.octets.hex()
    try:
        name, fields = read_iri(iri.octets)
    except InputError:
        return kind, iri.octets.hex()
    return kind, "\n".join([name, *(f"  {key}: {_shown(value)}" for key, value in fields.items())])


def _iri(pdu: PsPdu, iri: Iri) -> str:
    kind, text = iri_text(iri)
    when = moment(pdu.at_ns) if pdu.at_ns is not None else ""
    ends = f" {escape(iri.source)} to {escape(iri.destination)}" if iri.source else ""
    return f"<h3>{pdu.sequence} {kind} {when}{ends}</h3><pre>{escape(text)}</pre>"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes | bytearray) else str(value)


def session(archive: Archive, found: Session) -> str:
    cin = "" if found.cin is None else f" CIN {found.cin}"
    head = f"{escape(found.liid_text)}{cin}"
    heads = ("", "received", "missing", "again", "differing", "sealed", "checks", "hashed", "state")
    body = f'<p><a href="/">Sessions</a></p><h1>{head}</h1><p>{moment(found.first_ns)} to {moment(found.last_ns)}</p>'
    body += _table(heads, (_stream(stream) for stream in found.streams))
    if any(stream.data_type is DataType.CC and stream.received for stream in found.streams):
        body += "<h2>Audio</h2>"
        for name, title in (("mixed", "Both"), ("from-target", "From the target"), ("to-target", "To the target")):
            source = f"/sessions/{found.number}/audio/{name}.wav"
            body += f'<p>{title}</p><audio controls preload="none" src="{source}"></audio>'
    body += (
        f'<h2>Evidence</h2><p><a href="/sessions/{found.number}/evidence.zip">Download the package</a></p><h2>IRI</h2>'
    )
    shown = 0
    for pdu in archive.pdus(found.number, DataType.IRI):
        for iri in pdu.iri:
            shown += 1
            if shown > MESSAGES:
                return _page(found.liid_text, body + "<p>There are more; the package has all.</p>")
            body += _iri(pdu, iri)
    return _page(found.liid_text, body)
