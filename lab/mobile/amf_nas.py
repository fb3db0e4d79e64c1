"""NAS messages as the stand-in AMF reads and writes them, octet by octet after TS 24.501 clause 8.

The UE's side has pycrate for the same; nothing is shared.
"""

from __future__ import annotations

from ipaddress import IPv4Address

_FIXED = {0x12: 1, 0x59: 1}
"""Elements of an uplink transport that have no length: PDU session identity, old one."""


class NasFormatError(Exception):
    """Octets that are no message which this AMF knows."""


def optional(data: bytes) -> dict[int, bytes]:
    """Elements behind the mandatory ones, by their tags; half octets by the upper half. Raises NasFormatError."""
    found, at = {}, 0
    while at < len(data):
        tag = data[at]
        if tag & 0x80:
            found[tag & 0xF0], at = bytes((tag & 0x0F,)), at + 1
            continue
        wide = tag & 0xF0 == 0x70
        start = at + (1 if tag in _FIXED else 3 if wide else 2)
        if start > len(data):
            raise NasFormatError(f"element {tag:#x} is cut off")
        length = _FIXED.get(tag, int.from_bytes(data[at + 1 : start]))
        at = start + length
        if at > len(data):
            raise NasFormatError(f"element {tag:#x} is cut off")
        found[tag] = data[start:at]
    return found


def wide(data: bytes) -> tuple[bytes, bytes]:
    """A value behind two octets of length, and the rest. Raises NasFormatError."""
    end = 2 + int.from_bytes(data[:2])
    if len(data) < 2 or end > len(data):
        raise NasFormatError("cut off")
    return data[2:end], data[end:]


def message(data: bytes) -> tuple[int, bytes]:
    """Type and body of a plain 5GMM message. Raises NasFormatError."""
    if len(data) < 3 or data[0] != 0x7E or data[1]:
        raise NasFormatError(f"no plain message: {data[:3].hex()}")
    return data[2], data[3:]


def imsi(suci: bytes) -> str:
    """Of a SUCI of the null scheme. Raises NasFormatError for others."""
    if len(suci) < 9 or suci[0] & 0x77 != 1 or suci[6] & 0x0F:
        raise NasFormatError(f"no SUCI of the null scheme: {suci.hex()}")
    digits = [nibble for octet in suci[1:4] + suci[8:] for nibble in (octet & 15, octet >> 4)]
    # MCC, then the third digit of the MNC between: it is F for two.
    network, subscriber = [*digits[:3], *digits[4:6], digits[3]], digits[6:]
    kept = [digit for digit in network + subscriber if digit != 15]
    if any(digit > 9 for digit in kept):
        raise NasFormatError(f"no digits: {suci.hex()}")
    return "".join(str(digit) for digit in kept)


def _mm(kind: int, body: bytes = b"") -> bytes:
    return bytes((0x7E, 0, kind)) + body


def _tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


def _tlve(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + len(value).to_bytes(2) + value


def authentication_request(ksi: int, abba: bytes, rand: bytes, autn: bytes) -> bytes:
    return _mm(0x56, bytes((ksi, len(abba))) + abba + b"\x21" + rand + _tlv(0x20, autn))


def authentication_reject() -> bytes:
    return _mm(0x58)


def security_mode_command(ciphering: int, integrity: int, ksi: int, capabilities: bytes) -> bytes:
    """IMEISV is asked for, and the whole registration request (additional 5G security information)."""
    body = bytes((ciphering << 4 | integrity, ksi, len(capabilities))) + capabilities
    return _mm(0x5D, body + b"\xe1" + _tlv(0x36, b"\2"))


def registration_accept(guti: bytes, plmn: bytes, tac: int, sst: int) -> bytes:
    """Of 3GPP access; T3512 is an hour."""
    area = b"\0" + plmn + tac.to_bytes(3)
    slices = _tlv(0x15, bytes((1, sst)))
    return _mm(0x42, b"\1\1" + _tlve(0x77, guti) + _tlv(0x54, area) + slices + _tlv(0x5E, b"\x06"))


def registration_reject(cause: int) -> bytes:
    return _mm(0x44, bytes((cause,)))


def service_accept() -> bytes:
    return _mm(0x4E)


def service_reject(cause: int) -> bytes:
    return _mm(0x4D, bytes((cause,)))


def deregistration_accept() -> bytes:
    return _mm(0x46)


def configuration_command(name: str) -> bytes:
    """The network's name, in the alphabet of SMS, which ASCII letters are of; to be acknowledged."""
    packed = sum((ord(letter) & 127) << 7 * at for at, letter in enumerate(name))
    octets = packed.to_bytes((7 * len(name) + 7) // 8, "little")
    spare = len(octets) * 8 - 7 * len(name)
    return _mm(0x54, b"\xd1" + _tlv(0x43, bytes((0x80 | spare,)) + octets))


def downlink(psi: int, container: bytes) -> bytes:
    return _mm(0x68, b"\1" + len(container).to_bytes(2) + container + bytes((0x12, psi)))


def session_accept(ids: tuple[int, int], address: IPv4Address, qfi: int, dnn: bytes, sst: int) -> bytes:
    """IPv4, SSC mode 1, one QoS flow that matches everything, with 5QI 9; 100 Mbit/s both ways. `ids`: PSI and PTI."""
    rule = bytes((1, 0, 6, 0x31, 0x31, 1, 1, 0xFF, qfi))
    flow = bytes((qfi, 0x20, 0x41, 1, 1, 9))
    rate = bytes((6, 0, 100)) * 2
    body = b"\x11" + len(rule).to_bytes(2) + rule + bytes((len(rate),)) + rate
    body += _tlv(0x29, b"\1" + address.packed) + _tlv(0x22, bytes((sst,))) + _tlve(0x79, flow) + _tlv(0x25, dnn)
    return bytes((0x2E, *ids, 0xC2)) + body


def session_reject(psi: int, pti: int, cause: int) -> bytes:
    return bytes((0x2E, psi, pti, 0xC3, cause))


def session_release(psi: int, pti: int) -> bytes:
    """Regular deactivation."""
    return bytes((0x2E, psi, pti, 0xD3, 36))
