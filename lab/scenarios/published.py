"""What the NOC tells players and receivers of a site now: content steering, and the DVB-I service list."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass

from lab.scenarios import bootstrap
from lab.scenarios.console import Console, ScenarioError

_DVBI = "{urn:dvb:metadata:servicediscovery:2024}"


@dataclass(frozen=True, slots=True)
class Steering:
    """`pathways`: the one to take first before the others; `ttl_s`: when players ask again."""

    pathways: tuple[str, ...]
    ttl_s: int

    def __str__(self) -> str:
        return f"{' > '.join(self.pathways)}, TTL {self.ttl_s} s"


@dataclass(frozen=True, slots=True)
class ServiceList:
    """Of a site. `paths`: by number on the remote, the paths in the order of their instances' priorities."""

    version: int
    paths: dict[int, tuple[str, ...]]

    def satellite_first(self, numbers: Iterable[int]) -> bool:
        """Receivers of these channels take the satellite before the CDN."""
        return all(self.paths[number].index("sat") < self.paths[number].index("ott") for number in numbers)

    def __str__(self) -> str:
        return f"version {self.version}: " + "; ".join(f"{n}: {' > '.join(p)}" for n, p in self.paths.items())


def steering(console: Console, receiver: str, channel: str, site: str) -> Steering:
    """The steering manifest for HLS, as a player behind this receiver gets it."""
    text = _get(console, receiver, f"{bootstrap.STEERING}/steering/v1/hls/{channel}?path=ott&site={site}")
    manifest = json.loads(text)
    return Steering(tuple(manifest["PATHWAY-PRIORITY"]), manifest["TTL"])


def service_list(console: Console, receiver: str, site: str) -> ServiceList:
    """The list of a site's region, as a television behind this receiver gets it."""
    root = ET.fromstring(  # noqa: S314 - from the lab's own NOC
        _get(console, receiver, f"{bootstrap.SERVICE_LIST}/dvbi/service-list.xml?regionId={site}")
    )
    numbers = {one.attrib["serviceRef"]: int(one.attrib["channelNumber"]) for one in root.iter(f"{_DVBI}LCN")}
    paths = {}
    for service in root.iter(f"{_DVBI}Service"):
        uid = service.findtext(f"{_DVBI}UniqueIdentifier", "")
        found = sorted(
            (int(one.attrib["priority"]), one.attrib["id"].partition(".")[0])
            for one in service.iter(f"{_DVBI}ServiceInstance")
        )
        paths[numbers[uid]] = tuple(dict.fromkeys(path for _, path in found))
    return ServiceList(int(root.attrib["version"]), paths)


def _get(console: Console, receiver: str, url: str) -> str:
    answer = console.sh(receiver, "curl", "-sf", "-m", "5", url)
    if answer.code != 0:
        raise ScenarioError(f"{url} at {receiver}: curl ends with {answer.code}: {answer.text()[:300]}")
    return answer.stdout
