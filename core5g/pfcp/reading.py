"""A cursor over an IE's value, and the two spellings of names and numbers that PFCP took from older systems."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from core5g.pfcp.wire import PfcpError, name_of


class Reader:
    """Takes field after field of an IE's value; raises PfcpError where the value ends too early."""

    __slots__ = ("at", "ie", "value")

    def __init__(self, ie: int, value: bytes) -> None:
        self.ie = ie
        self.value = value
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.value):
            raise self.error(f"ends within a field of {size} octets")
        taken = self.value[self.at : end]
        self.at = end
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def ipv4(self) -> IPv4Address:
        return IPv4Address(self.take(4))

    def ipv6(self) -> IPv6Address:
        return IPv6Address(self.take(16))

    def text(self, size: int) -> str:
        """Printable text of so many octets."""
        return printable(self.ie, self.take(size))

    def error(self, why: str) -> PfcpError:
        return PfcpError("value", f"{name_of(self.ie)} {self.value.hex() or 'empty'}: {why}", ie=self.ie)


def packed(ie: int, number: int, octets: int) -> bytes:
    """`number` as so many octets. Raises PfcpError (reason `range`)."""
    try:
        return number.to_bytes(octets, "big")
    except OverflowError as error:
        raise PfcpError("range", f"{name_of(ie)}: {number} in {octets} octets", ie=ie) from error


def printable(ie: int, octets: bytes) -> str:
    """Text that may be shown to people and put into documents. Raises PfcpError."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PfcpError("value", f"{name_of(ie)} {octets.hex()}: no text", ie=ie) from error
    if not text.isprintable():
        raise PfcpError("value", f"{name_of(ie)} {octets.hex()}: control characters", ie=ie)
    return text


def text_octets(ie: int, text: str) -> bytes:
    """Raises PfcpError for what `printable` would not take back."""
    if not text.isprintable():
        raise PfcpError("range", f"{name_of(ie)} {text!r}: control characters", ie=ie)
    return text.encode("utf-8")


def name_of_labels(octets: bytes) -> str | None:
    """A name from labels with a length before each (TS 23.003, 9.1); None when the octets are no such name."""
    labels = []
    at = 0
    while at < len(octets):
        end = at + 1 + octets[at]
        label = octets[at + 1 : end]
        if not 0 < len(label) == octets[at] <= 63 or not label.isascii() or b"." in label:
            return None
        labels.append(label.decode("ascii"))
        at = end
    name = ".".join(labels)
    return name if name and name.isprintable() else None


def labels_of_name(ie: int, name: str) -> bytes:
    """The labels of a dotted name. Raises PfcpError."""
    labels = name.split(".")
    if not name.isascii() or not name.isprintable() or not all(0 < len(label) <= 63 for label in labels):
        raise PfcpError("range", f"{name_of(ie)}: {name!r} is no name of labels of 1 to 63 ASCII characters", ie=ie)
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in labels)


def digits_of(ie: int, octets: bytes) -> str:
    """Decimal digits of TBCD (TS 29.002, 17.7.8), low half first, padded with 15. Raises PfcpError."""
    digits = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in octets)
    digits = digits.removesuffix("f")
    if digits and not digits.isdecimal():
        raise PfcpError("value", f"{name_of(ie)} {octets.hex()}: not of digits", ie=ie)
    return digits


def tbcd_of(ie: int, digits: str) -> bytes:
    """Raises PfcpError."""
    if digits and not (digits.isascii() and digits.isdecimal()):
        raise PfcpError("range", f"{name_of(ie)}: {digits!r} is not of digits", ie=ie)
    padded = digits + "f" * (len(digits) % 2)
    return bytes(int(padded[at + 1] + padded[at], 16) for at in range(0, len(padded), 2))
