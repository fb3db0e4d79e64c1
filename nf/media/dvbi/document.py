"""A service list as XML: DVB-I v6, namespace `urn:dvb:metadata:servicediscovery:2024` (ETSI TS 103 770). Pure.

The schema wants its elements in one order. Frequencies are in units of 10 kHz and symbol rates in units of 100 symbols
a second, as in the satellite delivery system descriptor (EN 300 468, 6.2.13.2).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nf.contracts.reception import Adaptive, Broadcast, Multicast
from nf.media.dvbi.content import Content, Instance, Service

NAMESPACE: Final = "urn:dvb:metadata:servicediscovery:2024"
TYPES: Final = "urn:dvb:metadata:servicediscovery-types:2023"
MEDIA_TYPE: Final = "application/vnd.dvb.dvbisl+xml"
DASH_TYPE: Final = "application/dash+xml"
COUNTRY: Final = "COUNTRY"
"""Id of the region that holds all sites: a site's name is in lower case."""

_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_MOST_BPS: Final = 2**32 - 1
_MODULATIONS: Final = frozenset(
    {"QPSK", "8PSK", "8PSK-L", "16APSK", "16APSK-L", "32APSK", "32APSK-L", "64APSK", "64APSK-L"}
)
_CODES: Final = frozenset(
    [
        "1/2",
        "2/3",
        "3/4",
        "5/6",
        "7/8",
        "8/9",
        "3/5",
        "4/5",
        "9/10",
        "1/4",
        "1/3",
        "2/5",
        "13/45",
        "9/20",
        "11/20",
        "23/36",
        "25/36",
        "13/18",
        "5/9",
        "26/45",
        "28/45",
        "7/9",
        "77/90",
        "8/15",
        "32/45",
        "11/15",
    ]
)


@dataclass(frozen=True, slots=True)
class Head:
    """What an operator says of its lists. `country`: ISO 3166-1 alpha-3; `scheme`: of the URLs of OTT instances."""

    id: str
    name: str
    provider: str
    language: str
    country: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Versions:
    """Of the list, of its regions, and of each service by its unique identifier."""

    whole: int
    regions: int
    services: Mapping[str, int]


def render(content: Content, head: Head, versions: Versions) -> bytes:
    """Well-formed UTF-8. Characters that XML 1.0 does not have are left out."""
    ET.register_namespace("", NAMESPACE)
    ET.register_namespace("t", TYPES)
    identity = f"{head.id}:{content.region}" if content.region else head.id
    root = ET.Element(_d("ServiceList"), {"id": identity, "version": str(versions.whole), _LANGUAGE: head.language})
    _text(root, "Name", head.name)
    _text(root, "ProviderName", head.provider)
    if content.regions:
        _regions(root, content, head, versions)
    if content.region and content.regions:
        _text(root, "TargetRegion", content.region)
    if content.services:
        table = ET.SubElement(ET.SubElement(root, _d("LCNTableList")), _d("LCNTable"))
        for service in content.services:
            ET.SubElement(table, _d("LCN"), {"channelNumber": str(service.lcn), "serviceRef": service.uid})
    for service in content.services:
        _service(root, service, head, versions.services[service.uid])
    ET.indent(root)
    made: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return made + b"\n"


def _d(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, _d(name))
    element.text = clean(text)
    return element


def clean(text: str) -> str:
    """Of characters that XML 1.0 does not have (section 2.2)."""
    return "".join(
        c for c in text if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )


def _regions(root: ET.Element, content: Content, head: Head, versions: Versions) -> None:
    regions = ET.SubElement(root, _d("RegionList"), {"version": str(versions.regions)})
    country = ET.SubElement(
        regions, _d("Region"), {"regionID": COUNTRY, "countryCodes": head.country, "selectable": "false"}
    )
    for region in content.regions:
        _text(ET.SubElement(country, _d("Region"), {"regionID": region.id}), "RegionName", region.name)


def _service(root: ET.Element, service: Service, head: Head, version: int) -> None:
    element = ET.SubElement(root, _d("Service"), {"version": str(version)})
    _text(element, "UniqueIdentifier", service.uid)
    for instance in service.instances:
        _instance(element, instance, head)
    for region in service.regions:
        _text(element, "TargetRegion", region)
    _text(element, "ServiceName", service.name)
    _text(element, "ProviderName", head.provider)


def _instance(parent: ET.Element, instance: Instance, head: Head) -> None:
    element = ET.SubElement(parent, _d("ServiceInstance"), {"priority": str(instance.priority), "id": instance.id})
    match instance.way:
        case Broadcast():
            _text(element, "DisplayName", "Satellite")
            _broadcast(element, instance.way)
        case Multicast():
            _text(element, "DisplayName", "IPTV")
            _multicast(element, instance.way)
        case Adaptive():
            _text(element, "DisplayName", "Internet")
            delivery = ET.SubElement(element, _d("DASHDeliveryParameters"))
            location = ET.SubElement(delivery, _d("UriBasedLocation"), {"contentType": DASH_TYPE})
            ET.SubElement(location, f"{{{TYPES}}}URI").text = f"{head.scheme}:{instance.way.dash}"
            _text(delivery, "MinimumBitRate", str(min(instance.way.rate_bps, _MOST_BPS)))


def _broadcast(element: ET.Element, way: Broadcast) -> None:
    """As much as the schema has words for: a receiver that knows the multiplex needs the triplet only."""
    delivery = ET.SubElement(element, _d("DVBSDeliveryParameters"))
    triplet = {"tsId": str(way.transport_stream_id), "serviceId": str(way.service_id)}
    ET.SubElement(delivery, _d("DVBTriplet"), triplet)
    if way.position_deg is not None:
        _text(delivery, "OrbitalPosition", f"{way.position_deg:.1f}")
    if way.polarization == "circular":
        return
    _text(delivery, "Frequency", str(round(way.frequency_hz / 10_000)))
    _text(delivery, "Polarization", way.polarization)
    _text(delivery, "SymbolRate", str(round(way.symbol_rate_baud / 100)))
    if way.modulation in _MODULATIONS and way.fec in _CODES:
        _text(delivery, "RollOff", f"{way.roll_off:.2f}")
        _text(delivery, "ModulationSystem", way.system)
        _text(delivery, "ModulationType", way.modulation)
        _text(delivery, "FEC", way.fec)
    if way.system == "DVB-S2X":
        _text(delivery, "ModcodMode", "ccm")


def _multicast(element: ET.Element, way: Multicast) -> None:
    delivery = ET.SubElement(element, _d("MulticastTSDeliveryParameters"))
    address = {"Source": way.source, "Address": way.group, "Port": str(way.port), "Streaming": way.encapsulation}
    ET.SubElement(delivery, _d("IPMulticastAddress"), address)
    _text(delivery, "MinimumBitRate", str(min(way.rate_bps, _MOST_BPS)))
