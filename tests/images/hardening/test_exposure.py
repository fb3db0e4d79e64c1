"""What systemd counts as the exposure of every unit that an appliance runs, held where it was recorded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from core5g.observation import units as observation
from core5g.observation.documents import ObservationSection
from core5g.open5gs import units as open5gs
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.n6 import maker
from core5g.pfcp.proxy import units as pfcp
from core5g.pfcp.proxy.documents import ProxySection as PfcpProxySection
from core5g.steering.n6 import units as steering
from core5g.steering.n6.documents import N6Section
from headend.multicast.access import client as access
from headend.multicast.amt import units as amt
from headend.multicast.amt.documents import AmtRelay
from headend.multicast.bgp.daemon import Bgpd
from headend.multicast.documents import ProxySection, SourceStage
from headend.multicast.frr.daemons import Daemons
from headend.multicast.frr.render import DAEMONS
from headend.multicast.kernel import driver as proxy
from headend.multicast.monitor.units import Places as MonitorPlaces
from headend.multicast.output.units import Places as OutputPlaces
from headend.multicast.source import units as source
from headend.multicast.tree import pinning
from headend.satellite.receiver.units import Places as ReceiverPlaces
from nf.clock import RealClock
from nf.contracts.driver import DriverContext
from nf.contracts.units import Units, UnitSpec
from nf.media.anycast import units as anycast
from nf.media.anycast.documents import AnycastSection
from nf.media.documents import EdgeSection, IngestSource, IntakeChannel, PackagerChannel, ShieldSection
from nf.media.edge.healing import units as healing
from nf.media.edge.server import Server
from nf.media.front.driver import create as create_front
from nf.media.ingest import units as ingest
from nf.media.intake import units as intake
from nf.media.packager import units as packager
from nf.media.shield.varnish import Varnish
from nf.supervisor.choice import CONFIGURATION
from nf.supervisor.systemd.render import render
from nf.supervisor.systemd.security import exposures
from sip.documents import MediaServer, Turn, WebrtcGateway
from sip.freeswitch import units as freeswitch
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.places import Places as FreeswitchPlaces
from sip.interception import units as voice_observation
from sip.interception.documents import InterceptionSection
from sip.kamailio import units as kamailio
from sip.kamailio.address import units as floating
from sip.kamailio.documents import VoiceAddressSection
from sip.kamailio.places import Places as KamailioPlaces
from sip.rtpengine import units as rtpengine
from sip.webrtc.coturn import server as coturn
from sip.webrtc.documents import JanusSection, TurnSection
from sip.webrtc.janus import gateway as janus
from sip.webrtc.places import Places as WebrtcPlaces

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "images/files/common/usr/lib/systemd/system"
RUN, STATE = Path("/run/nf"), Path("/var/lib/nf")

LIMITS = {
    "access-follower": 2.1,
    "amt-relay": 2.1,
    "anycast-gate": 1.8,
    "bfdd": 2.0,
    "bgpd": 2.0,
    "caddy": 1.7,
    "core5g-observation": 2.2,
    "edge-healing": 1.9,
    "freeswitch": 1.9,
    "multicast-monitor": 1.9,
    "multicast-output": 2.1,
    "multicast-pins": 1.9,
    "multicast-proxy": 1.9,
    "n6-gate": 1.9,
    "n6-resolver": 1.9,
    "n6-tun": 1.7,
    "nf-agent": 3.0,
    "ingest-ch1": 1.4,
    "kamailio": 1.3,
    "kamailio-keeper": 1.2,
    "coturn": 1.3,
    "janus": 1.3,
    "keepalived": 2.1,
    "nf-boot-deadline": 2.9,
    "nf-console@": 7.0,
    "nf-data": 6.2,
    "nf-enrolled": 1.5,
    "nf-firewall": 1.4,
    "nf-firewall-management": 1.4,
    "nf-first-boot": 1.6,
    "nf-health": 1.1,
    "nf-installer@": 6.7,
    "nf-intercept": 1.7,
    "nf-li-administration": 1.7,
    "nf-li-mediation": 1.7,
    "nf-network": 2.3,
    "nf-reset@": 4.2,
    "nf-units-restore": 1.2,
    "open5gs-amfd": 1.5,
    "open5gs-upfd": 2.0,
    "ospfd": 2.7,
    "packager-ch1-ott": 1.4,
    "pfcp-proxy": 2.1,
    "pimd": 2.0,
    "rtpengine": 1.5,
    "rtpengine-store": 1.5,
    "rtpengine-vrrp": 2.1,
    "satellite-feed-c1": 1.5,
    "sip-interception": 1.7,
    "source-ch1-iptv": 1.4,
    "staticd": 1.4,
    "stream-intake-ch1-ott": 1.4,
    "trafficserver": 1.5,
    "varnishd": 1.4,
    "voice-alive": 1.2,
    "zebra": 2.0,
}
"""docs/images-hardening.md says why those above the target are."""


def defined(units: Units) -> Iterator[UnitSpec]:
    """One unit of each kind that drivers define."""
    daemons = Daemons(RUN, units)
    yield from map(daemons.spec, DAEMONS)
    yield pinning.unit_spec(())
    yield proxy.unit_spec(ProxySection.model_construct(), RUN / "multicast-proxy" / "ready")
    yield access.unit_spec(RUN)
    yield Bgpd(RUN, units).spec()
    yield amt.unit_spec("relay", AmtRelay.model_construct(), RUN)
    yield observation.unit_spec(ObservationSection(), RUN)
    yield voice_observation.unit_spec(InterceptionSection(address="192.0.2.1"), RUN)
    for kind in ("amf", "upf"):
        yield open5gs.unit_spec(ManagedFunction(kind=kind, name=kind, config={}), STATE, "pop1")
    media_server = FreeswitchSection.model_construct(server=MediaServer.model_construct(control=8021))
    yield freeswitch.unit_spec(media_server, FreeswitchPlaces(RUN, STATE))
    yield maker.unit_spec(RUN / "n6-network" / "ready", ("ogstun",))
    yield pfcp.unit_spec(PfcpProxySection.model_construct(), RUN, STATE)
    steered = N6Section.model_construct(tuns=("ogstun",))
    yield steering.gate_spec(steered, RUN, STATE / "n6-steering")
    yield steering.resolver_spec(steered, RUN)
    yield OutputPlaces.of(RUN, STATE).unit()
    yield MonitorPlaces.of(RUN, STATE).unit()
    yield ReceiverPlaces.of(RUN, STATE).unit("c1")
    address = IPv4Address("10.0.0.1")
    stage = {"source": address, "group": IPv4Address("232.0.0.1"), "port": 5000, "rate_bps": 1_000_000}
    yield source.unit_spec(
        SourceStage.model_construct(channel="ch1", path="iptv", contribution_port=6000, **stage), RUN
    )
    origin = {"endpoint": "https://origin", "bucket": "b", "credentials": "secret:origin-writer"}
    times = {"segment_ms": 2000, "window_ms": 60_000, "rate_bps": 1_000_000}
    channel = PackagerChannel.model_construct(channel="ch1", path="ott", contribution_port=6000, **origin, **times)
    yield packager.unit_spec(channel, RUN, CONFIGURATION / "secrets")
    yield ingest.unit_spec(IngestSource(source="ch1", type="srt", port=6001, arrival=6101), RUN)
    yield Varnish(RUN, units).spec(ShieldSection.model_construct(listen=address, port=6081))
    taken = {"url": "http://10.0.0.1/ch1/master.m3u8", "host": "cdn.test", "segment_ms": 2000, "outputs": ()}
    yield intake.unit_spec(IntakeChannel.model_construct(channel="ch1", path="ott", **taken), RUN)
    yield kamailio.proxy_spec("", KamailioPlaces(RUN, STATE))
    yield kamailio.keeper_spec(KamailioPlaces(RUN, STATE))
    asked = VoiceAddressSection.model_construct(proxy=address, port=5060)
    yield floating.vrrp_spec("", floating.AddressPlaces(RUN, STATE))
    yield floating.alive_spec(asked, floating.AddressPlaces(RUN, STATE))
    yield janus.spec(
        JanusSection.model_construct(gateway=WebrtcGateway.model_construct(address=address, port=8188)),
        WebrtcPlaces(RUN, STATE, "janus", janus.USER),
        "NF_0123456789abcdef",
    )
    yield coturn.spec(
        TurnSection.model_construct(turn=Turn.model_construct(address=address, port=3478)),
        WebrtcPlaces(RUN, STATE, "coturn", coturn.USER),
        "NF_0123456789abcdef",
    )
    yield anycast.spec(AnycastSection.model_construct(), RUN)
    yield create_front(DriverContext("pop1", RUN, STATE, units, RealClock())).spec()
    server = Server(RUN, STATE, units, None)  # type: ignore[arg-type] # it waits for nothing here
    edge = EdgeSection.model_construct(listen=(address,), port=80)
    yield server._spec(edge, {})
    yield healing.spec(edge, server.places)
    yield rtpengine.relay_unit(STATE)
    yield rtpengine.store_unit(STATE, "10.0.0.1")
    yield rtpengine.mover_unit(STATE, RUN)


@pytest.mark.daemon
def test_no_unit_is_more_exposed_than_it_was(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("systemd-analyze")
    files = {path.stem: path for path in SHIPPED.glob("nf-*.service")}
    for name in [name for name in files if name.endswith("@")]:  # a template is judged as one of its instances
        files[name] = Path(shutil.copy(files[name], tmp_path / f"{name}i.service"))
    for spec in defined(None):  # type: ignore[arg-type] # nothing is started
        files[spec.name] = tmp_path / f"nf-{spec.name}.service"
        files[spec.name].write_text(render(spec, hidden=(STATE, CONFIGURATION)))
    scores = exposures(files.values())
    found = {name: scores[path.name] for name, path in files.items()}
    assert found.keys() == LIMITS.keys()
    assert {name: score for name, score in found.items() if score > LIMITS[name]} == {}


def test_the_documentation_tells_every_limit() -> None:
    text = (ROOT / "docs/images-hardening.md").read_text()
    told = {name: float(score) for name, score in re.findall(r"(?m)^\| `([\w@-]+)` \| ([0-9.]+) \|", text)}
    assert told == LIMITS
