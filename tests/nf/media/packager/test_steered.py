"""Pathways in manifests: read by a reader of its own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import urljoin

import pytest

from nf.media.documents import PackagerChannel, Pathways
from nf.media.hls import parse_multivariant
from nf.media.packager.publish import last_number
from nf.media.packager.steered import Steered
from nf.media.packager.units import channel_of, unit_spec
from nf.media.packager.uploader import parse_arguments
from tests.nf.media.steering.players import SHAKA_MPD, SHAKA_MULTIVARIANT

SITES = ("pop1", "pop2", "pop3", "pop4", "pop5")


def steered(*sites: str) -> Steered:
    pathways = Pathways(server="https://steer.test", host="cdn.streamverse.test", sites=sites or SITES[:2])
    return Steered("ch1", "ott", pathways)


def read(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Tags with their attributes, and the line after them."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        if line.startswith("#EXT-X-") and ":" in line:
            name, _, rest = line.partition(":")
            after = lines[number + 1] if number + 1 < len(lines) else ""
            found.append((name, dict(re.findall(r'([A-Z-]+)="?([^",]*)', rest)), after))
    return found


def test_every_pathway_has_every_variant_and_renditions_of_its_own() -> None:
    text = steered().multivariant(SHAKA_MULTIVARIANT)
    tags = read(text)
    steering = [attributes for name, attributes, _ in tags if name == "#EXT-X-CONTENT-STEERING"]
    assert steering == [{"SERVER-URI": "https://steer.test/steering/v1/hls/ch1?path=ott", "PATHWAY-ID": "any"}]
    variants = [(a["PATHWAY-ID"], a["AUDIO"], uri) for name, a, uri in tags if name == "#EXT-X-STREAM-INF"]
    assert variants == [
        ("any", "audio", "video.m3u8"),
        ("pop1", "audio@pop1", "//pop1.cdn.streamverse.test/ch1/video.m3u8"),
        ("pop2", "audio@pop2", "//pop2.cdn.streamverse.test/ch1/video.m3u8"),
    ]
    groups = {a["GROUP-ID"]: a["URI"] for name, a, _ in tags if name == "#EXT-X-MEDIA"}
    assert groups == {
        "audio": "audio.m3u8",
        "audio@pop1": "//pop1.cdn.streamverse.test/ch1/audio.m3u8",
        "audio@pop2": "//pop2.cdn.streamverse.test/ch1/audio.m3u8",
    }
    assert urljoin("https://cdn.streamverse.test/ch1/master.m3u8", variants[1][2]).startswith("https://pop1.cdn.")


def test_a_player_that_knows_no_steering_and_our_probe_take_the_host_they_were_given() -> None:
    parsed = parse_multivariant(steered().multivariant(SHAKA_MULTIVARIANT))
    assert parsed.media_uris == ("video.m3u8", "audio.m3u8")
    assert parsed.audio == {"audio": "audio.m3u8"}


def test_of_many_sites_some_are_left_to_clones_and_dash_lists_all() -> None:
    hls = steered(*SITES).multivariant(SHAKA_MULTIVARIANT)
    assert [site for site in SITES if f"//{site}." in hls] == list(SITES[:4])
    mpd = steered(*SITES).presentation(SHAKA_MPD)
    assert [site for site in SITES if f"//{site}." in mpd] == list(SITES)


def test_the_presentation_names_the_server_and_a_base_for_each_pathway() -> None:
    text = steered().presentation(SHAKA_MPD)
    root = ET.fromstring(text)  # noqa: S314 - our own
    space = "{urn:mpeg:dash:schema:mpd:2011}"
    assert [child.tag.removeprefix(space) for child in root] == [
        "BaseURL",
        "BaseURL",
        "BaseURL",
        "ContentSteering",
        "Period",
    ]
    bases = {base.get("serviceLocation"): base.text for base in root.findall(f"{space}BaseURL")}
    assert bases == {
        "any": "./",
        "pop1": "//pop1.cdn.streamverse.test/ch1/",
        "pop2": "//pop2.cdn.streamverse.test/ch1/",
    }
    found = root.find(f"{space}ContentSteering")
    assert found is not None
    assert found.text == "https://steer.test/steering/v1/dash/ch1?path=ott"
    assert found.attrib == {"defaultServiceLocation": "any", "queryBeforeStart": "false"}
    assert last_number(text) == last_number(SHAKA_MPD)


@pytest.mark.parametrize("strange", ["", "<MPD/>", "no xml", "<MPD></MPD>"])
def test_a_presentation_that_cannot_be_read_stays_as_it_is(strange: str) -> None:
    assert steered().presentation(strange) == strange


def test_steering_is_put_in_once() -> None:
    once = steered()
    assert once.multivariant(once.multivariant(SHAKA_MULTIVARIANT)) == once.multivariant(SHAKA_MULTIVARIANT)
    assert once.presentation(once.presentation(SHAKA_MPD)) == once.presentation(SHAKA_MPD)


def test_the_unit_of_a_packager_carries_the_pathways(tmp_path: Path) -> None:

    channel = PackagerChannel.model_validate(
        {
            "channel": "ch1",
            "path": "ott",
            "contribution_port": 6011,
            "rate": "1M",
            "endpoint": "http://10.1.0.20:8333",
            "bucket": "media",
            "credentials": "secret:origin-writer",
            "segment": "2s",
            "window": "20s",
            "steering": {"server": "https://steer.test", "host": "cdn.streamverse.test", "sites": ["pop1"]},
        }
    )
    spec = unit_spec(channel, tmp_path, tmp_path)
    assert channel_of(spec) == channel
    arguments = parse_arguments(spec.argv[3:])
    assert arguments.steering == channel.steering
    plain = channel.model_copy(update={"steering": None})
    assert channel_of(unit_spec(plain, tmp_path, tmp_path)) == plain
