"""The keys of 5G AKA as a UE derives them: TS 33.501 annex A upon the function of TS 33.220 annex B.2."""

from __future__ import annotations

import hashlib
import hmac

_3GPP_ACCESS = b"\1"
_NAS_ENCRYPTION, _NAS_INTEGRITY = b"\1", b"\2"


def kdf(key: bytes, fc: int, *parameters: bytes) -> bytes:
    """TS 33.220 annex B.2.0: 32 octets."""
    text = bytes((fc,)) + b"".join(part + len(part).to_bytes(2) for part in parameters)
    return hmac.new(key, text, hashlib.sha256).digest()


def serving_network(mcc: str, mnc: str) -> bytes:
    """The serving network name (TS 24.501 clause 9.12.1): a two digit MNC is filled up with a zero in front."""
    return f"5G:mnc{mnc:0>3}.mcc{mcc}.3gppnetwork.org".encode()


def res_star(ck: bytes, ik: bytes, network: bytes, rand: bytes, res: bytes) -> bytes:
    """RES*, 16 octets (annex A.4)."""
    return kdf(ck + ik, 0x6B, network, rand, res)[16:]


def k_ausf(ck: bytes, ik: bytes, network: bytes, sqn_xor_ak: bytes) -> bytes:
    """Annex A.2."""
    return kdf(ck + ik, 0x6A, network, sqn_xor_ak)


def k_seaf(ausf: bytes, network: bytes) -> bytes:
    """Annex A.6."""
    return kdf(ausf, 0x6C, network)


def k_amf(seaf: bytes, supi: str, abba: bytes) -> bytes:
    """Annex A.7. `supi`: with or without its `imsi-`; the digits are what goes in."""
    return kdf(seaf, 0x6D, supi.removeprefix("imsi-").encode(), abba)


def nas_keys(amf: bytes, ciphering: int, integrity: int) -> tuple[bytes, bytes]:
    """K_NASenc and K_NASint of the algorithms' identities, 16 octets each (annex A.8)."""
    return (
        kdf(amf, 0x69, _NAS_ENCRYPTION, bytes((ciphering,)))[16:],
        kdf(amf, 0x69, _NAS_INTEGRITY, bytes((integrity,)))[16:],
    )


def k_gnb(amf: bytes, uplink_count: int) -> bytes:
    """Annex A.9, of 3GPP access. `uplink_count`: NAS COUNT of the message that asked for the radio's security."""
    return kdf(amf, 0x6E, uplink_count.to_bytes(4), _3GPP_ACCESS)
