"""A UE's registration, sessions, idleness and end against the stand-in AMF, and what it does with ill messages."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mobile import amf_nas, identities, nas, ngap
from lab.mobile.amf_nas import NasFormatError
from lab.mobile.amf_security import Link, Subscription, derive
from lab.mobile.amf_ue import Step
from lab.mobile.n2_core import N2Core
from lab.mobile.n2_link import N2Error, Trace
from lab.mobile.nas import Mm, NasError, Sm
from lab.mobile.nas_security import CAPABILITIES
from lab.mobile.nas_ue import State, Ue
from lab.mobile.ngap import Gnb, NgapError
from lab.mobile.usim import Usim
from tests.lab.mobile.n2_loop import END, IMSI, NETWORK, OPC, SUPI, K, Loop

LIMIT_S = 90.0


@pytest.mark.parametrize("ciphering", [0, 2])
def test_from_registration_to_deregistration(ciphering: int) -> None:
    loop = Loop(ciphering)
    assert loop.core.amf == "sv-lab-amf-stand-in"
    told = loop.session()
    assert (told["ue_ips"], told["upf"], told["qfi"]) == (["10.45.0.2"], {"address": "10.50.0.7", "teid": 77}, 1)
    assert loop.said == [f"{IMSI} is registered"]
    loop.core.idle(told["id"])
    assert loop.core.sessions()[0]["state"] == "idle"

    loop.smf.told[0]["paged"] = 1
    loop.push(loop.amf.page())
    assert loop.amf.page() == []
    loop.core.received()
    assert loop.core.sessions()[0]["paged"] == 1
    loop.core.gnb(told["id"], "active", {"address": "10.50.0.2", "teid": 6})
    assert (loop.core.sessions()[0]["state"], loop.core.sessions()[0]["paged"]) == ("active", 0)

    loop.core.delete(told["id"])
    assert loop.core.lost(SUPI)
    key = told["id"]
    assert loop.smf.calls == [
        ("create", SUPI, "internet"),
        *[("active", key, 5), ("idle", key), ("active", key, 6), ("delete", key)],
    ]
    assert loop.amf.served == {}


def test_from_idle_a_ue_deregisters_too() -> None:
    loop = Loop()
    key = loop.session()["id"]
    loop.core.idle(key)
    loop.core.delete(key)
    assert loop.smf.calls[-1] == ("delete", key)
    assert loop.amf.served == {}


def test_a_ue_that_comes_again_takes_the_place_of_what_it_has_left() -> None:
    loop = Loop()
    key = loop.session()["id"]
    again = N2Core(Gnb("999", "70"), {SUPI: Usim(IMSI, K, OPC, {0: 100})}, loop, limit_s=1)
    assert again.create({"supi": SUPI, "dnn": "internet", "gnb": END})["id"] == key
    assert loop.smf.calls.count(("delete", key)) == 1
    assert [served.ue.imsi for served in loop.amf.served.values()] == [IMSI]


def test_a_session_that_the_smf_has_not_is_refused_and_another_is_given() -> None:
    loop = Loop()
    with pytest.raises(N2Error, match="5GSM cause 26"):
        loop.session("full")
    assert loop.session()["ue_ips"] == ["10.45.0.2"]


def test_ues_without_keys_with_another_key_and_of_nobody() -> None:
    with pytest.raises(N2Error, match="keys are not given"):
        Loop().core.create({"supi": "imsi-999700000000002", "dnn": "internet", "gnb": {}})
    loop = Loop(usim=Usim(IMSI, bytes(16), OPC))
    with pytest.raises(N2Error, match="MAC failure"):
        loop.session()
    assert any("5GMM cause 20" in line for line in loop.said)
    nobody = Loop(usim=Usim("999700000000009", K, OPC))
    with pytest.raises(N2Error, match="5GMM cause 3"):
        nobody.session()
    assert not loop.smf.calls + nobody.smf.calls


def test_a_ue_that_is_ahead_is_resynchronised() -> None:
    usim = Usim(IMSI, K, OPC)
    usim.start_at(1 << 20)
    loop = Loop(usim=usim)
    assert loop.session()["ue_ips"]
    assert loop.said[0] == f"{IMSI}: resynchronised"


def test_an_amf_with_another_key_for_the_radio_gets_no_context() -> None:
    loop = Loop()
    key = loop.session()["id"]
    loop.core.idle(key)
    link = loop.amf.served[1].ue.link
    assert link is not None
    link.up += 256
    with pytest.raises(N2Error):
        loop.core.gnb(key, "active", {"address": "10.50.0.2", "teid": 6})


def _challenged() -> tuple[Ue, Link]:
    """A UE that has answered its challenge, and the network's side of the context."""
    ue, home = Ue(Usim(IMSI, K, OPC), "999", "70"), Subscription(K, int.from_bytes(OPC))
    ue.register()
    challenge = home.challenge(NETWORK)
    [answer] = ue.received(amf_nas.authentication_request(3, b"\0\0", challenge.rand, challenge.autn))
    assert amf_nas.optional(amf_nas.message(answer)[1])[0x2D] == challenge.expected
    return ue, Link(derive(challenge.k_seaf, b"\x6d", IMSI.encode(), b"\0\0"), 2)


def _rejected(answers: list[bytes]) -> int:
    [answer] = answers
    message = nas.parse(answer)
    assert message.type == Mm.SECURITY_MODE_REJECT
    return message.number("5GMMCause")


def test_a_mode_command_is_taken_once() -> None:
    ue, link = _challenged()
    command = link.seal(amf_nas.security_mode_command(2, 2, 3, CAPABILITIES), 3)
    [complete] = ue.received(command)
    plain = link.unseal(complete)
    assert plain is not None
    assert amf_nas.message(plain)[0] == 0x5E
    [again] = ue.received(command)
    refusal = link.unseal(again)
    assert refusal is not None
    assert (amf_nas.message(refusal), ue.state) == ((0x5F, b"\x18"), State.REGISTERING)


@pytest.mark.parametrize(
    ("ciphering", "integrity", "ksi", "capabilities", "cause"),
    [
        (2, 2, 3, b"\xf0\x70", 23),
        (2, 2, 4, CAPABILITIES, 23),
        (2, 0, 3, CAPABILITIES, 24),
        (1, 2, 3, CAPABILITIES, 24),
    ],
)
def test_a_mode_command_that_was_bid_down_is_refused(
    ciphering: int, integrity: int, ksi: int, capabilities: bytes, cause: int
) -> None:
    ue, link = _challenged()
    command = amf_nas.security_mode_command(ciphering, integrity, ksi, capabilities)
    assert _rejected(ue.received(link.seal(command, 3))) == cause
    assert ue.security is None


def test_a_mode_command_with_an_ill_mac_is_refused() -> None:
    ue, link = _challenged()
    command = bytearray(link.seal(amf_nas.security_mode_command(2, 2, 3, CAPABILITIES), 3))
    command[2] ^= 1
    assert _rejected(ue.received(bytes(command))) == 24


def test_what_is_not_protected_is_dropped_once_there_is_security() -> None:
    ue, link = _challenged()
    ue.received(link.seal(amf_nas.security_mode_command(0, 2, 3, CAPABILITIES), 3))
    for plain in (amf_nas.registration_reject(3), amf_nas.authentication_reject(), amf_nas.service_accept()):
        assert ue.received(plain) == []
    assert ue.state is State.REGISTERING
    assert len(ue.dropped) == 3


def test_a_message_in_the_wrong_state_is_told_with_cause_98() -> None:
    ue = Ue(Usim(IMSI, K, OPC), "999", "70")
    [status] = ue.received(amf_nas.authentication_reject())
    assert (nas.parse(status).type, nas.parse(status).number("5GMMCause")) == (Mm.STATUS, 98)


@given(st.from_regex(r"[0-9]{15}", fullmatch=True), st.sampled_from([2, 3]))
def test_a_suci_of_the_null_scheme_is_read_by_the_other_side(imsi: str, digits: int) -> None:
    assert amf_nas.imsi(identities.suci(imsi[:3], imsi[3 : 3 + digits], imsi)) == imsi


@given(st.binary(max_size=60))
def test_octets_for_a_ue_are_answered_or_dropped(data: bytes) -> None:
    ue = Ue(Usim(IMSI, K, OPC), "999", "70")
    ue.register()
    for answer in ue.received(data):
        nas.parse(answer)


@given(st.sampled_from([*Mm]), st.sampled_from([*Sm]), st.binary(max_size=60))
def test_octets_are_a_nas_message_or_malformed(mm: Mm, sm: Sm, rest: bytes) -> None:
    for data in (bytes((0x7E, 0, mm)) + rest, bytes((0x2E, 1, 1, sm)) + rest):
        try:
            assert nas.parse(data).type in (mm, sm)
        except NasError:
            continue


@given(st.sampled_from([*Step]), st.sampled_from([0x41, 0x45, 0x4C, 0x57, 0x59, 0x5E, 0x67]), st.binary(max_size=60))
def test_octets_for_the_stand_in_are_read_or_malformed(step: Step, kind: int, body: bytes) -> None:
    ue = replace(_QUIET.amf.served[1].ue, link=None, step=step)
    try:
        ue.received(bytes((0x7E, 0, kind)) + body)
    except NasFormatError:
        return


@given(st.data())
def test_ngap_with_some_octets_changed_is_a_message_or_malformed(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(_RECORDED)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        ngap.decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except NgapError:
        return


_QUIET = Loop()
_QUIET.session()
_RECORDED = tuple(_QUIET.sent)


@pytest.mark.daemon
def test_wireshark_reads_what_both_have_written(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    """tshark: NGAP and NAS without ciphering, as somebody else understands them."""
    require_programs("tshark")
    loop = Loop(ciphering=0)
    key = loop.session()["id"]
    loop.core.idle(key)
    loop.core.gnb(key, "active", {"address": "10.50.0.2", "teid": 6})
    loop.core.delete(key)
    trace = Trace(tmp_path / "n2.pcap", "10.50.0.2", "10.50.0.1")
    for data in loop.sent:
        trace.write(data, sent=True)
    trace.close()
    fields = ["_ws.malformed", "nas_5gs.mm.message_type", "nas_5gs.sm.message_type", "nas_5gs.mm.suci.msin"]
    fields += ["ngap.AMFName", "nas_5gs.cmn.dnn", "nas_5gs.sm.pdu_addr_inf_ipv4", "nas_5gs.sm.qfi"]
    fields += ["ngap.TransportLayerAddressIPv4", "ngap.gTP_TEID"]
    command = ["tshark", "-n", "-r", str(tmp_path / "n2.pcap"), "-o", "nas-5gs.null_decipher:TRUE", "-T", "fields"]
    command += [part for field in fields for part in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = [{value for row in rows for value in row[at].split(",") if value} for at in range(len(fields))]
    assert len(rows) == len(loop.sent)
    assert found[0] == set()
    assert {int(kind, 0) for kind in found[1]} == {
        *(Mm.REGISTRATION_REQUEST, Mm.REGISTRATION_ACCEPT, Mm.REGISTRATION_COMPLETE),
        *(Mm.AUTHENTICATION_REQUEST, Mm.AUTHENTICATION_RESPONSE, Mm.SECURITY_MODE_COMMAND, Mm.SECURITY_MODE_COMPLETE),
        *(Mm.CONFIGURATION_COMMAND, Mm.CONFIGURATION_COMPLETE, Mm.UPLINK_TRANSPORT, Mm.DOWNLINK_TRANSPORT),
        *(Mm.SERVICE_REQUEST, Mm.SERVICE_ACCEPT, Mm.DEREGISTRATION_REQUEST, Mm.DEREGISTRATION_ACCEPT),
    }
    assert {int(kind, 0) for kind in found[2]} == {
        *(Sm.ESTABLISHMENT_REQUEST, Sm.ESTABLISHMENT_ACCEPT),
        *(Sm.RELEASE_REQUEST, Sm.RELEASE_COMMAND, Sm.RELEASE_COMPLETE),
    }
    assert (found[3], found[4]) == ({"0000000001"}, {"sv-lab-amf-stand-in"})
    assert (found[5], found[6], found[7]) == ({"internet"}, {"10.45.0.2"}, {"1"})
    assert (found[8], found[9]) == ({"10.50.0.7", "10.50.0.2"}, {"0000004d", "00000005", "00000006"})
