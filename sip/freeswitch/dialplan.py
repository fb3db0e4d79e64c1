"""The dialplan: what a number of a service does, and where a menu's keys lead. Pure.

Context `services` is what proxies call. Context `outside` is where a key leads that names no service of ours: by the
proxies, as any call that leaves. A call to NUMBER*USER leaves a message in a user's box, for proxies that divert calls
which nobody answers; NUMBER alone is the caller's own box.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # builds; what is read is our own file, by lxml
from collections.abc import Iterable, Iterator
from typing import Final

from sip.documents import Service
from sip.freeswitch.documents import FreeswitchSection, WayOut

PROFILE: Final = "voice"
"""Of SIP."""
SERVICES: Final = "services"
OUTSIDE: Final = "outside"
BOXES: Final = "default"
"""Profile of voicemail."""
ROOMS: Final = "room"
"""Profile of conferences."""
_USER: Final = r"\+?[A-Za-z0-9._-]{1,64}"

Action = tuple[str, str]


def dialplan(section: FreeswitchSection) -> ET.Element:
    """The element `section name="dialplan"`."""
    root = ET.Element("section", name="dialplan", description="what numbers do")
    services = ET.SubElement(root, "context", name=SERVICES)
    for service in section.services:
        for suffix, pattern, actions in _extensions(service):
            _extension(services, f"{service.kind}-{service.number}{suffix}", f"^{pattern}$", actions)
    outside = ET.SubElement(root, "context", name=OUTSIDE)
    for number in outside_numbers(section):
        _extension(outside, f"outside-{number}", f"^{re.escape(number)}$", [("bridge", _dialled(number, section))])
    return root


def menu_name(service: Service) -> str:
    """`*` and `#` are no letters of a name."""
    return "menu-" + service.number.replace("*", "s").replace("#", "h").replace("+", "p")


def room_name(service: Service) -> str:
    return "room-" + menu_name(service).removeprefix("menu-")


def outside_numbers(section: FreeswitchSection) -> list[str]:
    """Those that a menu leads to and no service has."""
    own = {one.number for one in section.services}
    return sorted({number for one in section.services for number in one.options.values()} - own)


def where(number: str, section: FreeswitchSection) -> str:
    """The context that has a number."""
    return SERVICES if any(one.number == number for one in section.services) else OUTSIDE


def _extensions(service: Service) -> Iterator[tuple[str, str, list[Action]]]:
    number = re.escape(service.number)
    if service.kind == "conference":
        yield "", number, [("answer", ""), ("conference", f"{room_name(service)}@{ROOMS}")]
    elif service.kind == "ivr":
        yield "", number, [("answer", ""), ("sleep", "200"), ("ivr", menu_name(service))]
    elif service.kind == "echo":
        yield "", number, [("answer", ""), ("echo", "")]
    else:
        # The proxy has asked the caller for a password already.
        own = f"check auth {BOXES} ${{sip_from_host}} ${{sip_from_user}}"
        yield "", number, [("answer", ""), ("voicemail", own)]
        left: list[Action] = [("set", "skip_greeting=true"), ("set", "skip_instructions=true")]
        left += [("set", "skip_record_check=true"), ("answer", ""), ("sleep", "200")]
        left += [("voicemail", f"{BOXES} ${{sip_from_host}} $1")]
        yield "-leave", rf"{number}\*({_USER})", left


def _dialled(number: str, section: FreeswitchSection) -> str:
    """One proxy after the other, until one takes it."""
    return "|".join(_by(number, one) for one in section.ways_out)


def _by(number: str, proxy: WayOut) -> str:
    transport = ";transport=tcp" if proxy.transport == "tcp" else ""
    # `#` is no character of a SIP URI (RFC 3261 section 25.1), so it is written as %23.
    user = number.replace("#", "%23")
    return f"sofia/{PROFILE}/sip:{user}@{proxy.address}:{proxy.port}{transport}"


def _extension(context: ET.Element, name: str, expression: str, actions: Iterable[Action]) -> None:
    extension = ET.SubElement(context, "extension", name=name)
    condition = ET.SubElement(extension, "condition", field="destination_number", expression=expression)
    for application, data in actions:
        attributes = {"application": application, **({"data": data} if data else {})}
        ET.SubElement(condition, "action", attributes)
