"""What scapy and tshark, which share no line with our codecs, make of what they write."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from scapy.contrib import gtp
from scapy.contrib.pfcp import PFCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

from core5g.pfcp import gtpu
from core5g.pfcp.ies import (
    Action,
    ApnDnn,
    ApplyAction,
    Cause,
    DestinationInterface,
    FailedRuleId,
    FarId,
    FSeid,
    FTeid,
    GateStatus,
    InterfaceType3gpp,
    Mbr,
    NetworkInstance,
    NodeId,
    OuterHeaderCreation,
    OuterHeaderRemoval,
    PdnType,
    PdrId,
    Precedence,
    QerId,
    Qfi,
    RecoveryTimeStamp,
    Removal,
    RuleKind,
    SdfFilter,
    SNssai,
    SourceInterface,
    UeIpAddress,
    UserId,
    VolumeThreshold,
    ie,
)
from core5g.pfcp.rules import CreatedPdr, CreateFar, CreatePdr, Forwarding, Pdi, RemoveFar, RemovePdr, UpdateFar
from core5g.pfcp.wire import Ie, IeType, Message, MessageType, decode, encode, expand, group, walk
from tests.core5g.pfcp import strategies as make
from tests.core5g.pfcp.recordings import establishment, recorded

tshark = [
    pytest.mark.daemon,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark of Debian is not installed"),
]
NAME = NetworkInstance("internet")
SERVER = IPv4Address("203.0.113.10")

STEERING = Message(
    MessageType.SESSION_MODIFICATION_REQUEST,
    0xF00001,
    0x3CF,
    (
        CreatePdr(
            PdrId(0x7001),
            Precedence(10),
            Pdi(
                SourceInterface.ACCESS,
                FTeid(0x899, IPv4Address("10.50.0.7")),
                NAME,
                (UeIpAddress(IPv4Address("10.45.0.2")),),
                (SdfFilter("permit out ip from 203.0.113.0/24 to assigned"), SdfFilter(tos=0x10FC, filter_id=9)),
                InterfaceType3gpp.N3,
                (Qfi(1),),
            ),
            OuterHeaderRemoval(Removal.GTPU_IPV4),
            FarId(0x7001),
            qer_ids=(QerId(1),),
        ).ie(),
        CreateFar(
            FarId(0x7001),
            ApplyAction(Action.FORW),
            Forwarding(
                DestinationInterface.CORE,
                NAME,
                OuterHeaderCreation.gtpu(0x4242, IPv4Address("10.50.0.8")),
                InterfaceType3gpp.N9,
            ),
        ).ie(),
        UpdateFar(FarId(1), ApplyAction(Action.BUFF | Action.NOCP)).ie(),
        RemovePdr(PdrId(5)).ie(),
        RemoveFar(FarId(5)).ie(),
        group(IeType.CREATE_QER, [ie(QerId(1)), ie(GateStatus(True, False)), ie(Mbr(1000, 2000))]),
    ),
)
ANSWER = Message(
    MessageType.SESSION_MODIFICATION_RESPONSE,
    0xF00001,
    0x87E,
    (
        ie(Cause.RULE_CREATION_MODIFICATION_FAILURE),
        ie(FailedRuleId(RuleKind.FAR, 0x7001)),
        CreatedPdr(PdrId(2), FTeid(9, IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1"))).ie(),
    ),
)
NODES = (
    Message(
        MessageType.ASSOCIATION_SETUP_REQUEST,
        7,
        ies=(ie(NodeId("smf1.example")), ie(RecoveryTimeStamp(0xEEAD98C0)), Ie(IeType.CP_FUNCTION_FEATURES, b"\0")),
    ),
    Message(MessageType.HEARTBEAT_REQUEST, 8, ies=(ie(RecoveryTimeStamp(0xEEAD98C0)),)),
    Message(MessageType.SESSION_DELETION_REQUEST, 9, 5, priority=3),
    Message(MessageType.VERSION_NOT_SUPPORTED_RESPONSE, 10),
)
ESTABLISHMENT = Message(
    MessageType.SESSION_ESTABLISHMENT_REQUEST,
    11,
    0,
    (
        ie(NodeId(IPv6Address("2001:db8::5"))),
        ie(FSeid(5, IPv4Address("10.0.0.5"), IPv6Address("2001:db8::5"))),
        CreatePdr(
            PdrId(1),
            Precedence(1),
            Pdi(
                SourceInterface.ACCESS,
                FTeid(choose=True, choose_id=5, choose_ipv4=True, choose_ipv6=True),
                ue_ips=(UeIpAddress(SERVER, IPv6Address("2001:db8:1::"), True, ipv6_length=56),),
            ),
            OuterHeaderRemoval(Removal.GTPU_IP, 1),
            FarId(1),
        ).ie(),
        CreateFar(FarId(1), ApplyAction(Action.DROP, octets=1)).ie(),
        group(IeType.CREATE_URR, [Ie(IeType.URR_ID, bytes(4)), Ie(IeType.MEASUREMENT_METHOD, b"\2"),
                                  Ie(IeType.REPORTING_TRIGGERS, b"\2\0"), ie(VolumeThreshold(uplink=5))]),
        ie(PdnType.IPV4V6),
        ie(UserId("999700000000001", msisdn="123")),
        ie(ApnDnn("internet.mnc070.mcc999.gprs")),
        ie(SNssai(1, 0xABCDEF)),
    ),
)  # fmt: skip
MADE = (STEERING, ANSWER, *NODES, ESTABLISHMENT)
PACKETS = (
    gtpu.Packet(gtpu.GtpuType.G_PDU, 5, bytes(IP(dst=str(SERVER)) / UDP(dport=9)), extensions=(
        gtpu.PduSession.up(9).extension(),)),
    gtpu.Packet(gtpu.GtpuType.G_PDU, 6, bytes(IP(dst=str(SERVER)) / UDP(dport=9)), extensions=(
        gtpu.PduSession.down(7, rqi=True).extension(),)),
    gtpu.echo_request(3),
    gtpu.echo_response(gtpu.echo_request(3)),
    gtpu.error_indication(gtpu.ErrorIndication(0x1234, SERVER, 2152)),
    gtpu.end_marker(0x55),
    gtpu.supported_extensions([0x85]),
)  # fmt: skip


def leaves(data: bytes) -> list[tuple[int, int]]:
    """Type and length of every IE, the way our codec sees it."""
    return [(one.type, len(one.value)) for one in walk(expand(decode(data).ies))]


def scapys(layer: Any) -> Iterator[tuple[int, int]]:
    """The same, the way scapy sees it."""
    for one in getattr(layer, "IE_list", ()):  # a deletion has no field for IEs there
        yield int.from_bytes(one.original[:2], "big"), one.length  # its name for what it does not know is 0
        if "IE_list" in one.fields:
            yield from scapys(one)


def test_scapy_sees_the_same_ies_in_every_recorded_message() -> None:
    for one in {one.data for one in recorded()}:
        assert list(scapys(PFCP(one))) == leaves(one)


def test_scapy_reads_what_we_write() -> None:
    layer = PFCP(encode(STEERING))
    assert (layer.message_type, layer.seq, layer.seid) == (52, 0xF00001, 0x3CF)
    assert list(scapys(layer)) == leaves(encode(STEERING))
    pdr, far = layer.IE_list[0], layer.IE_list[1]
    pdi = pdr.IE_list[2]
    assert (pdr.IE_list[0].id, pdr.IE_list[1].precedence) == (0x7001, 10)
    assert (pdi.IE_list[1].TEID, pdi.IE_list[1].ipv4) == (0x899, "10.50.0.7")
    assert pdi.IE_list[2].instance == b"internet"
    assert pdi.IE_list[3].ipv4 == "10.45.0.2"
    assert pdi.IE_list[4].flow_description == b"permit out ip from 203.0.113.0/24 to assigned"
    assert far.IE_list[1].FORW == 1
    assert (far.IE_list[2].IE_list[2].TEID, far.IE_list[2].IE_list[2].ipv4) == (0x4242, "10.50.0.8")
    deletion = PFCP(encode(NODES[2]))
    assert (deletion.MP, deletion.seid, deletion.seq) == (1, 5, 9)


def test_we_read_what_scapy_writes() -> None:
    """The real SMF's establishment, rebuilt by scapy field by field."""
    layer = PFCP(establishment())
    assert layer.command()
    for one in (layer, *layer.IE_list):
        one.raw_packet_cache = None
    assert decode(bytes(layer)) == decode(establishment())


@settings(max_examples=30)
@given(make.create_pdrs, make.create_fars)
def test_scapy_sees_the_same_ies_in_any_rules(pdr: CreatePdr, far: CreateFar) -> None:
    plain = CreatePdr(pdr.id, pdr.precedence, Pdi(pdr.pdi.source, pdr.pdi.fteid), None, pdr.far_id, pdr.urr_ids)
    data = encode(
        Message(MessageType.SESSION_MODIFICATION_REQUEST, 1, 1, (plain.ie(), CreateFar(far.id, far.apply_action).ie()))
    )
    assert list(scapys(PFCP(data))) == leaves(data)


def test_scapy_reads_our_gtpu() -> None:
    up, down, echo, response, error, marker, _ = (gtp.GTPHeader(gtpu.encode(packet)) for packet in PACKETS)
    assert (up.teid, up[gtp.GTPPDUSessionContainer].type, up[gtp.GTPPDUSessionContainer].QFI) == (5, 1, 9)
    assert up[IP].dst == str(SERVER)
    container = down[gtp.GTPPDUSessionContainer]
    assert (down.teid, container.type, container.QFI, container.RQI) == (6, 0, 7, 1)
    assert (echo.gtp_type, echo.seq) == (1, 3)
    assert (response.gtp_type, response.seq) == (2, 3)
    assert error.gtp_type == 26
    assert (marker.gtp_type, marker.teid) == (254, 0x55)


def test_we_read_scapys_gtpu() -> None:
    inner = IP(dst=str(SERVER)) / UDP(dport=9) / Raw(b"x")
    made = gtp.GTP_U_Header(teid=77) / gtp.GTPPDUSessionContainer(type=1, QFI=5) / inner
    packet = gtpu.decode(bytes(made))
    assert (packet.teid, packet.pdu_session) == (77, gtpu.PduSession.up(5))
    assert packet.payload == bytes(inner)


def dissected(datagrams: Iterable[bytes], port: int, where: Path) -> list[dict[str, Any]]:
    """tshark's layers of datagrams, as JSON."""
    file = where / "made.pcap"
    frames = [
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / IP(src="10.0.0.1", dst="10.0.0.2")
        / UDP(sport=port, dport=port)
        / Raw(data)
        for data in datagrams
    ]
    wrpcap(str(file), frames)
    told = subprocess.run(
        ["tshark", "-r", str(file), "-T", "json", "--no-duplicate-keys"], check=True, capture_output=True, text=True
    )
    return [frame["_source"]["layers"] for frame in json.loads(told.stdout)]


def malformed(layers: Any) -> list[str]:
    """What tshark finds wrong with them: malformed packets and warnings and errors of its experts."""
    grave = [level for level in every(layers, "_ws.expert.severity") if int(level, 0) >= 0x600000]
    return [*every(layers, "_ws.malformed"), *grave]


def every(layers: Any, field: str) -> list[str]:
    """All values of a field, wherever it stands."""
    found: list[str] = []
    if isinstance(layers, dict):
        for name, value in layers.items():
            if name == field:
                found += value if isinstance(value, list) else [value]
            else:
                found += every(value, field)
    elif isinstance(layers, list):
        for one in layers:
            found += every(one, field)
    return found


class TestTshark:
    pytestmark = tshark

    def test_it_sees_the_same_ies(self, tmp_path: Path) -> None:
        """In what was recorded and in what we made."""
        sent = [*dict.fromkeys(one.data for one in recorded()), *map(encode, MADE)]
        for data, layers in zip(sent, dissected(sent, 8805, tmp_path), strict=True):
            seen = sorted(int(kind) for kind in every(layers["pfcp"], "pfcp.ie_type"))
            assert seen == sorted(kind for kind, _ in leaves(data))

    def test_it_reads_the_values_that_we_wrote_and_finds_nothing_wrong(self, tmp_path: Path) -> None:
        found = dissected(map(encode, MADE), 8805, tmp_path)
        assert malformed(found) == []
        steering, answer, setup, _, deletion, _, establish = (layers["pfcp"] for layers in found)

        def values(layers: Any, field: str) -> set[int]:
            return {int(value, 0) for value in every(layers, f"pfcp.{field}")}

        assert values(steering, "pdr_id") == {0x7001, 5}
        assert values(steering, "far_id") == {0x7001, 1, 5}
        assert values(steering, "f_teid.teid") == {0x899}
        assert values(steering, "outer_hdr_creation.teid") == {0x4242}
        assert every(steering, "pfcp.outer_hdr_creation.ipv4") == ["10.50.0.8"]
        assert every(steering, "pfcp.ue_ip_addr_ipv4") == ["10.45.0.2"]
        assert every(steering, "pfcp.flow_desc") == ["permit out ip from 203.0.113.0/24 to assigned"]
        assert values(steering, "qfi_value") == {1}
        assert values(answer, "cause") == {73}
        assert every(answer, "pfcp.f_teid.ipv6_addr") == ["2001:db8::1"]
        assert every(setup, "pfcp.node_id_fqdn") == ["smf1.example"]
        assert values(deletion, "seid") == {5}
        assert every(establish, "pfcp.ue_ip_addr_ipv6") == ["2001:db8:1::"]
        assert every(establish, "e212.imsi") == ["999700000000001"]
        assert every(establish, "pfcp.apn_dnn") == ["internet.mnc070.mcc999.gprs"]

    def test_it_reads_our_gtpu(self, tmp_path: Path) -> None:
        found = dissected(map(gtpu.encode, PACKETS), 2152, tmp_path)
        assert malformed(found) == []
        up, down, echo, response, error, marker, supported = (layers["gtp"] for layers in found)
        assert every(up, "gtp.teid") == ["0x00000005"]
        assert (every(up, "gtp.ext_hdr.pdu_ses_con.pdu_type"), every(up, "gtp.ext_hdr.pdu_ses_con.qos_flow_id")) == (
            ["1"], ["9"],
        )  # fmt: skip
        assert every(down, "gtp.ext_hdr.pdu_ses_cont.rqi") == ["1"]
        assert [every(one, "gtp.message") for one in (echo, response, error, marker, supported)] == [
            ["0x01"], ["0x02"], ["0x1a"], ["0xfe"], ["0x1f"],
        ]  # fmt: skip
        assert every(error, "gtp.teid_data") == ["0x00001234"]
        assert every(error, "gtp.gsn_ipv4") == [str(SERVER)]
        assert every(error, "gtp.ext_hdr.udp_port") == ["2152"]

    def test_it_finds_what_is_wrong(self, tmp_path: Path) -> None:
        """That the judge is awake."""
        broken = group(IeType.CREATE_FAR, [Ie(IeType.FAR_ID, b"\0")])
        assert malformed(dissected([encode(STEERING._replace(ies=(broken,)))], 8805, tmp_path))
