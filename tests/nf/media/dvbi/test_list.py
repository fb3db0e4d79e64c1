"""Service lists, judged by XML Schema (lxml): what stands in them, in which order, and when it changes."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from headend.multicast.receptions import receptions as multicast
from headend.satellite.receptions import receptions as satellite
from nf.contracts.paths import Ranking
from nf.contracts.reception import Adaptive, Broadcast, Multicast, Reception, load_receptions
from nf.media.dvbi.book import Book
from nf.media.dvbi.content import Content, Instance, Region, Service, content_of
from nf.media.dvbi.document import DASH_TYPE, Head, Versions, render
from nf.media.receptions import receptions as cdn
from tests.nf.media.hosting_players import MemoryRecords, lab_fleet, lab_lineup

DATA = Path(__file__).parents[3] / "data" / "dvbi"
HEAD = Head("tag:streamverse.test,2026:list", "StreamVerse <TV> & more", "StreamVerse", "en", "FRA", "https")
D = {"d": "urn:dvb:metadata:servicediscovery:2024", "t": "urn:dvb:metadata:servicediscovery-types:2023"}
LINEUP, FLEET = lab_lineup(), lab_fleet()
KNOWN_VALID = Path(__file__).parents[5] / "shared" / "reference" / "media" / "dvbi-min-valid.xml"
RECEPTIONS = (*cdn(LINEUP, FLEET), *multicast(LINEUP, FLEET), *satellite(LINEUP, FLEET))


@cache
def _schemas() -> tuple[etree.XMLSchema, ...]:
    """Ours; and those of the standard, which are not ours to keep, where somebody has put them."""
    files = [DATA / "subset-v6.xsd"]
    given_to_us = os.environ.get("DVBI_SCHEMAS")
    files += [Path(given_to_us) / "dvbi_v6.0.xsd"] if given_to_us else []
    return tuple(etree.XMLSchema(etree.parse(str(file))) for file in files)


def judged(document: bytes) -> Any:
    root = etree.fromstring(document)
    for schema in _schemas():
        schema.assertValid(root)
    known = {one.get("regionID") for one in root.iter("{*}Region")}
    dangling = {one.text for one in root.iter("{*}TargetRegion")} - known  # libxml2 does not look after IDREFs
    if dangling:
        raise etree.DocumentInvalid(f"no such region: {dangling}")
    return root


def shown(*rankings: Ranking, region: str = "") -> Any:
    return judged(rendered(content_of(LINEUP, FLEET, RECEPTIONS, rankings, region)))


def rendered(content: Content) -> bytes:
    return render(content, HEAD, Versions(7, 2, {service.uid: 3 for service in content.services}))


def instances(root: Any, channel: str = "ch1") -> list[tuple[str, str]]:
    service = next(s for s in root.findall("d:Service", D) if s.findtext("d:UniqueIdentifier", "", D).endswith(channel))
    return [(one.get("priority"), one.get("id")) for one in service.findall("d:ServiceInstance", D)]


def test_our_subset_takes_what_is_known_to_be_right_and_refuses_what_is_not() -> None:
    text = rendered(content_of(LINEUP, FLEET, RECEPTIONS, (), "pop1")).decode()
    judged(text.encode())
    for right, wrong in (
        ('version="7"', 'version="0"'),
        ("<TargetRegion>", "<TargetRegions>"),
        ("<t:URI>", "<URI>"),
        ('regionID="pop1"', 'regionID="pop2"'),
        ("<RollOff>0.20", "<RollOff>0.2"),
    ):
        assert right in text
        with pytest.raises(etree.LxmlError):
            judged(text.replace(right, wrong, 1).encode())


def test_our_subset_takes_a_list_of_somebody_else_that_is_known_to_be_valid() -> None:
    """It was judged by the schemas of the standard. It stands beside the working copy, where there is one."""
    if not KNOWN_VALID.exists():
        pytest.skip(f"needs {KNOWN_VALID.name}, a list that the schemas of the standard have taken")
    assert len(judged(KNOWN_VALID.read_bytes()).findall("d:Service", D)) == 1


def test_a_service_has_satellite_iptv_and_internet_in_the_line_up_s_order() -> None:
    root = shown(region="pop1")
    assert instances(root) == [("1", "iptv"), ("2", "sat"), ("2", "sat.pop1"), ("3", "ott")]
    assert root.get("id") == "tag:streamverse.test,2026:list:pop1"
    by_id = {one.get("id"): one for one in root.iterfind("d:Service/d:ServiceInstance", D)}
    sat = by_id["sat"].find("d:DVBSDeliveryParameters", D)
    assert {child.tag.partition("}")[2]: child.text for child in sat} == {
        "DVBTriplet": None,
        "OrbitalPosition": "19.2",
        "Frequency": "1175000",
        "Polarization": "horizontal",
        "SymbolRate": "20000",
        "RollOff": "0.20",
        "ModulationSystem": "DVB-S2",
        "ModulationType": "8PSK",
        "FEC": "3/4",
    }
    address = by_id["sat.pop1"].find("d:MulticastTSDeliveryParameters/d:IPMulticastAddress", D)
    assert dict(address.attrib)["Source"] == "10.3.1.1"
    location = by_id["ott"].find("d:DASHDeliveryParameters/d:UriBasedLocation", D)
    assert location.get("contentType") == DASH_TYPE
    assert location.findtext("t:URI", "", D).startswith("https://cdn.streamverse.test/ch")


def test_the_order_is_the_policy_s_at_the_site_and_elsewhere_it_is_not() -> None:
    away = Ranking("ch1", "pop1", ("sat", "ott", "iptv"), "ott", alert=True, number=2)
    usual = Ranking("ch1", "pop2", ("iptv", "sat", "ott"), "iptv", alert=False, number=1)
    paths = [name for _, name in instances(shown(away, usual, region="pop1"))]
    assert paths == ["ott", "sat", "sat.pop1", "iptv"]
    assert next(name for _, name in instances(shown(away, usual, region="pop2"))) == "iptv"
    whole = shown(away, usual)
    assert next(name for _, name in instances(whole)) in {"iptv", "ott"}
    assert {"sat.pop1", "sat.pop2"} <= {name for _, name in instances(whole)}


def test_channels_have_their_numbers_and_sites_are_regions() -> None:
    root = shown()
    numbers = {one.get("channelNumber"): one.get("serviceRef") for one in root.iter("{*}LCN")}
    assert numbers["101"] == "tag:streamverse.test,2026:ch1"
    assert [one.get("regionID") for one in root.iter("{*}Region")] == ["COUNTRY", "pop1", "pop2"]
    assert [one.text for one in shown(region="pop2").findall("d:TargetRegion", D)] == ["pop2"]


def test_every_domain_says_how_its_paths_are_received() -> None:
    names = {one.__module__ for one in load_receptions()}
    assert {"headend.multicast.receptions", "headend.satellite.receptions", "nf.media.receptions"} <= names


# ---- over line-ups that nobody has written ----

_text = st.text(min_size=1, max_size=12)
_names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
_ways = st.one_of(
    st.builds(
        Broadcast,
        transport_stream_id=st.integers(0, 65535),
        service_id=st.integers(1, 65535),
        position_deg=st.one_of(st.none(), st.floats(-180, 180)),
        frequency_hz=st.integers(10**9, 3 * 10**10),
        polarization=st.sampled_from(["horizontal", "vertical", "circular"]),
        symbol_rate_baud=st.integers(100_000, 10**8),
        roll_off=st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.25, 0.35]),
        system=st.sampled_from(["DVB-S2", "DVB-S2X"]),
        modulation=st.sampled_from(["QPSK", "8PSK", "16APSK-L", "8APSK-L", "256APSK"]),
        fec=st.sampled_from(["3/4", "13/45", "2/9", "29/45"]),
    ),
    st.builds(
        Multicast,
        source=st.ip_addresses(v=4).map(str),
        group=st.ip_addresses(v=4, network="232.0.0.0/8").map(str),
        port=st.integers(1024, 65535),
        encapsulation=st.sampled_from(["udp", "rtp"]),
        rate_bps=st.integers(1, 10**12),
    ),
    st.builds(
        Adaptive, hls=st.just("//c.test/a"), dash=_names.map("//c.test/{}".format), rate_bps=st.integers(1, 10**12)
    ),
)


@st.composite
def _contents(draw: st.DrawFn) -> Content:
    regions = draw(st.lists(st.builds(Region, _names, _text), max_size=3, unique_by=lambda one: one.id))
    numbers = draw(st.lists(st.integers(1, 9999), max_size=4, unique=True))
    services = [
        Service(
            f"tag:x.test,2026:{number}",
            draw(_text),
            number,
            tuple(
                Instance(f"i{index}", index + 1, way)
                for index, way in enumerate(draw(st.lists(_ways, min_size=1, max_size=4)))
            ),
            tuple(one.id for one in regions if draw(st.booleans())),
        )
        for number in numbers
    ]
    return Content(draw(st.sampled_from(["", *(one.id for one in regions)])), tuple(regions), tuple(services))


@given(_contents())
@settings(max_examples=60)
def test_any_content_makes_a_valid_list(content: Content) -> None:
    root = judged(rendered(content))
    assert len(root.findall("d:Service", D)) == len(content.services)


@given(st.lists(_contents(), min_size=1, max_size=5), st.data())
@settings(max_examples=25)
async def test_a_version_grows_with_a_change_and_only_with_one(contents: list[Content], data: st.DataObject) -> None:
    records = MemoryRecords()
    book = Book(records)
    last: dict[str, tuple[int, bytes]] = {}
    for content in contents:
        for again in range(2):
            versions = await book.number(content, HEAD)
            document = render(content, HEAD, versions)
            before = last.get(content.region)
            if before is not None:
                assert versions.whole >= before[0]
                assert (document == before[1]) == (versions.whole == before[0]) or again == 0
                if document != before[1]:
                    assert versions.whole > before[0]
            last[content.region] = (versions.whole, document)
        if data.draw(st.booleans()):
            book = Book(records)
            await book.load()
            assert await book.number(content, HEAD) == versions


def test_a_reception_by_ipv6_is_left_out_since_the_schema_has_no_word_for_it() -> None:
    there = Reception("ch1", "iptv", "pop1", Multicast("2001:db8::1", "ff3e::1", 5000, "udp", 1))
    assert content_of(LINEUP, FLEET, [there], ()).services == ()
