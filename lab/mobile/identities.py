"""5GS mobile identities, slices and lists of sessions, as octets (TS 24.501 clauses 9.11.2.8, 9.11.3.4, 9.11.3.44)."""

from __future__ import annotations

from collections.abc import Iterable

SUCI, GUTI, S_TMSI, IMEISV = 1, 2, 4, 5
"""Types of identity; IMEI is 3, and not here."""

_GUTI_OCTETS = 11
_ROUTING_INDICATOR = b"\xf0\xff"
"""0, of a USIM that has none (TS 23.003 clause 2.2B)."""


def plmn(mcc: str, mnc: str) -> bytes:
    """TS 38.413 clause 9.3.3.5: digits in pairs, the lower half first; a two digit MNC is filled up with F."""
    third = mnc[2] if len(mnc) == 3 else "f"
    pairs = (mcc[1] + mcc[0], third + mcc[2], mnc[1] + mnc[0])
    return bytes(int(pair, 16) for pair in pairs)


def _digits(digits: str) -> bytes:
    filled = digits + "f" * (len(digits) % 2)
    return bytes.fromhex("".join(filled[at + 1] + filled[at] for at in range(0, len(filled), 2)))


def suci(mcc: str, mnc: str, imsi: str) -> bytes:
    """The null scheme: the IMSI as it is. Raises ValueError when it is of another PLMN."""
    home = mcc + mnc
    if not imsi.startswith(home):
        raise ValueError(f"{imsi} is no IMSI of {mcc}-{mnc}")
    return bytes((SUCI,)) + plmn(mcc, mnc) + _ROUTING_INDICATOR + bytes(2) + _digits(imsi.removeprefix(home))


def imeisv(digits: str) -> bytes:
    """16 digits; the first shares an octet with the type."""
    return bytes((int(digits[0]) << 4 | IMEISV,)) + _digits(digits[1:])


def is_guti(identity: bytes) -> bool:
    return len(identity) == _GUTI_OCTETS and identity[0] & 7 == GUTI


def s_tmsi(guti: bytes) -> bytes:
    """5G-S-TMSI as a mobile identity: AMF set, AMF pointer and 5G-TMSI of a 5G-GUTI."""
    return bytes((0xF0 | S_TMSI,)) + guti[5:]


def s_nssai(sst: int, sd: str | None) -> bytes:
    """A slice without its length. `sd`: 6 hex digits."""
    return bytes((sst,)) + (b"" if sd is None else bytes.fromhex(sd))


def session_bits(psis: Iterable[int]) -> bytes:
    """Which PDU sessions: PSI 0 to 7 in the first octet, its bit 1 is PSI 0 (clause 9.11.3.44)."""
    return sum(1 << psi for psi in set(psis)).to_bytes(2, "little")
