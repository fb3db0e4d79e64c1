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


def offer_flags(caller: Side, callee: Side, interface: tuple[str, str] | None = None) -> Flags:
    """What the SDP that goes on to the callee is to be.

    `interface`: rtpengine's names of the media interfaces towards caller and callee; None: the first for both.
    """
    return _flags(caller, callee, "offer", interface)


def answer_flags(caller: Side, callee: Side) -> Flags:
    """What the SDP that goes back to the caller is to be."""
    return _flags(callee, caller, "answer", None)


def _flags(sender: Side, receiver: Side, message: str, interface: tuple[str, str] | None) -> Flags:
    flags: list[str] = ["trust address"] if sender.kind is Kind.WEBRTC else []
    items = {"transport-protocol": _PROTOCOL[receiver.kind]}
    if receiver.kind is Kind.WEBRTC:
        items |= {"ICE": "force", "DTLS": "passive" if message == "offer" else "active"}
        flags += ["generate mid", "SDES-off"]
        mux = ("offer", "require") if message == "offer" else ("accept",)
    else:
        items["ICE"] = "remove"
        mux = ("demux",)
        flags += ["DTLS-off"] if False else []
    codec: dict[str, tuple[str, ...]] = {}
    if message == "offer" and receiver.codecs:
        codec = {"mask": ("all",), "transcode": receiver.codecs} if False else _codec(sender, receiver)
    return Flags(
        flags=tuple(flags),
        replace=("origin", "session connection") if False else ("origin",),
        codec=codec or None,
        items=items,
    )


def _codec(sender: Side, receiver: Side) -> dict[str, tuple[str, ...]]:
    return {"strip": ("all",), "transcode": receiver.codecs}
