"""The names of a unit: what drivers call it, its file for systemd, its object on D-Bus."""

from __future__ import annotations

import re

from nf.supervisor.protocol import UNIT_NAME

PREFIX, SUFFIX = "nf-", ".service"
OBJECTS = "/org/freedesktop/systemd1/unit/"

_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def service(name: str) -> str:
    """`nf-NAME.service`. An @ would make it an instance of a template, so it is escaped as systemd-escape(1) does."""
    return PREFIX + name.replace("@", r"\x40") + SUFFIX


def unit_of(file: str) -> str | None:
    """The unit that a service of systemd stands for; None when it is none of ours."""
    if not (file.startswith(PREFIX) and file.endswith(SUFFIX)):
        return None
    name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), file[len(PREFIX) : -len(SUFFIX)])
    return name if UNIT_NAME.fullmatch(name) and service(name) == file else None


def object_path(file: str) -> str:
    """Where systemd has a unit on D-Bus (sd_bus_path_encode(3))."""
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    octets = file.encode()
    letters = (
        chr(octet) if chr(octet) in plain and not (place == 0 and chr(octet).isdigit()) else f"_{octet:02x}"
        for place, octet in enumerate(octets)
    )
    return OBJECTS + "".join(letters)


def file_of(path: str) -> str:
    """The inverse of `object_path`; "" for what is no unit."""
    if not path.startswith(OBJECTS):
        return ""
    try:
        return re.sub(r"_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path.removeprefix(OBJECTS))
    except ValueError:
        return ""
