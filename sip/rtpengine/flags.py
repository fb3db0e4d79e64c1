"""From what the two sides of a call are to what rtpengine is told. Pure.

A side is how its SDP is to look, whatever the other one's looks like: RFC 3264 (RTP), RFC 4568 (SDES), RFC 5764 with
RFC 8839 (DTLS-SRTP and ICE, what browsers speak: RFC 8834), T.38 Annex D (fax).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from nf.errors import InputError
from sip.rtpengine.messages import Flags

CODECS: Final = frozenset(
    {"PCMA", "PCMU", "G722", "G729", "opus", "GSM", "iLBC", "speex", "AMR", "AMR-WB", "telephone-event", "CN"}
)
"""Names as in `a=rtpmap` that may be asked for; which of them a relay can transcode its build says (`--codecs`)."""


class Kind(Enum):
    RTP = "rtp"  # RTP/AVP: telephones, trunks, media servers
    SDES = "sdes"  # RTP/SAVP: keys in the SDP, so only where SIP itself goes by TLS
    WEBRTC = "webrtc"  # UDP/TLS/RTP/SAVPF with ICE and rtcp-mux: browsers


_PROTOCOL: Final = {Kind.RTP: "RTP/AVP", Kind.SDES: "RTP/SAVP", Kind.WEBRTC: "UDP/TLS/RTP/SAVPF"}
_WEAK: Final = ("NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32")
"""Of what rtpengine would offer: no encryption at all, and what nobody else has."""


@dataclass(frozen=True, slots=True)
class Side:
    """codecs: what it takes, the best first; empty: whatever the other one offers. `t38`: it takes faxes by T.38."""

    kind: Kind = Kind.RTP
    codecs: tuple[str, ...] = ()
    t38: bool = False

    def __post_init__(self) -> None:
        for name in self.codecs:
            if name not in CODECS:
                remedy = f"write one of {', '.join(sorted(CODECS))}"
                raise InputError("there is no such codec", where=f"codecs: {name}", remedy=remedy)
        if len({*self.codecs}) != len(self.codecs):
            raise InputError("a codec is named twice", where=f"codecs: {', '.join(self.codecs)}", remedy="remove one")


def offer_flags(caller: Side, callee: Side, interfaces: tuple[str, str] | None = None) -> Flags:
    """What the SDP that goes on to the callee is to be.

    `interfaces`: rtpengine's names of the media interfaces towards caller and callee; None: the first for both.
    """
    flags, items = _transport(callee.kind)
    if callee.kind is Kind.WEBRTC:
        flags += ["generate mid"]
    mux = ("offer",) if callee.kind is Kind.WEBRTC else ("demux",)
    codec = {"mask": ("all",), "transcode": callee.codecs} if callee.codecs else None
    fax = ("decode",) if caller.t38 and not callee.t38 else ()
    return Flags(tuple(flags), ("origin",), codec, items, mux, fax, interfaces or ())


def answer_flags(caller: Side, callee: Side) -> Flags:
    """What the SDP that goes back to the caller is to be: codecs and faxes are turned back as the offer said."""
    del callee  # what it is, its own SDP says by now
    flags, items = _transport(caller.kind)
    mux = ("accept",) if caller.kind is Kind.WEBRTC else ("demux",)
    return Flags(tuple(flags), ("origin",), None, items, mux)


def _transport(kind: Kind) -> tuple[list[str], dict[str, str]]:
    items = {"transport-protocol": _PROTOCOL[kind], "ICE": "force" if kind is Kind.WEBRTC else "remove"}
    if kind is Kind.WEBRTC:
        return ["SDES-off"], items  # RFC 8827 section 6.5: browsers take no keys from an SDP
    items["DTLS"] = "off"
    return [f"SDES-no-{suite}" for suite in _WEAK] if kind is Kind.SDES else [], items
