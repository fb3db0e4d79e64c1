"""5G events as TS 33.128 has them: pycrate reads them, whatever stood in an event."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawful_intercept.points.xiri import active_session, xiri
from nf.contracts.interception import Event, EventKind, Identity, IdentityKind
from tests.lawful_intercept.points.judges import xiri as read

SUBJECT = (
    Identity(IdentityKind.SUPI, "imsi-001010000000001"),
    Identity(IdentityKind.GPSI, "msisdn-491700000001"),
    Identity(IdentityKind.PEI, "imeisv-3535938300494715"),
)
SESSION: dict[str, Any] = {
    "supi": "imsi-001010000000001",
    "dnn": "internet",
    "s_nssai": {"sst": 1, "sd": "00002a"},
    "ue_ip": ["10.45.0.2", "2001:db8:cafe:1::/64"],
    "fteids": [{"address": "10.70.0.1", "teid": 17, "end": "upf"}, {"address": "10.70.0.2", "teid": 9, "end": "gnb"}],
    "pdu_session_id": 5,
    "since": 1_700_000_000.5,
}
REGISTRATION: dict[str, Any] = {
    "supi": "imsi-001010000000001",
    "connected": True,
    "guti": "00101-030080-CC00007AB",
    "location": {"nr_tai": {"plmn": "00101", "tac": 1}, "nr_cgi": {"plmn": "00101", "nci": 1_638_401}, "gnb_id": 100},
    "located_at": 1_758_733_375.89,
}


def event(kind: EventKind, details: dict[str, Any], identities: tuple[Identity, ...] = SUBJECT) -> Event:
    return Event("x1", kind, 1_700_000_000.0, 0, 7, identities, details)


def value(kind: EventKind, details: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    octets = xiri(event(kind, details))
    assert octets is not None
    return read(octets)


def test_an_establishment_tells_all_that_is_known() -> None:
    name, found = value(EventKind.SESSION_BEGIN, SESSION)
    assert name == "pDUSessionEstablishment"
    assert found == {
        "sUPI": ("iMSI", "001010000000001"),
        "gPSI": ("mSISDN", "491700000001"),
        "pEI": ("iMEISV", "3535938300494715"),
        "pDUSessionID": 5,
        "gTPTunnelID": {"tEID": 17, "iPv4Address": bytes((10, 70, 0, 1))},
        "pDUSessionType": "iPv4v6",
        "sNSSAI": {"sliceServiceType": 1, "sliceDifferentiator": bytes((0, 0, 42))},
        "uEEndpoint": [
            ("iPv4Address", bytes((10, 45, 0, 2))),
            ("iPv6Address", bytes.fromhex("20010db8cafe0001") + bytes(8)),
        ],
        "dNN": "internet",
        "requestType": "initialRequest",
        "accessType": "threeGPPAccess",
        "rATType": "nR",
    }


def test_a_session_that_stood_tells_since_when() -> None:
    name, found = value(EventKind.SESSION_STANDING, SESSION)
    assert name == "startOfInterceptionWithEstablishedPDUSession"
    assert found["timeOfSessionEstablishment"][:6] == ("2023", "11", "14", "22", "13", "20")


def test_change_and_end() -> None:
    assert value(EventKind.SESSION_CHANGE, SESSION)[0] == "pDUSessionModification"
    assert value(EventKind.SESSION_END, SESSION) == (
        "pDUSessionRelease",
        {
            "sUPI": ("iMSI", "001010000000001"),
            "gPSI": ("mSISDN", "491700000001"),
            "pEI": ("iMEISV", "3535938300494715"),
            "pDUSessionID": 5,
        },
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (EventKind.REGISTRATION, "registration"),
        (EventKind.REGISTRATION_STANDING, "startOfInterceptionWithRegisteredUE"),
        (EventKind.DEREGISTRATION, "deregistration"),
        (EventKind.LOCATION, "locationUpdate"),
    ],
)
def test_registrations_tell_where_the_ue_is(kind: EventKind, name: str) -> None:
    told, found = value(kind, REGISTRATION)
    assert told == name
    assert found["gUTI"] == {
        "mCC": "001",
        "mNC": "01",
        "aMFRegionID": 3,
        "aMFSetID": 2,
        "aMFPointer": 0,
        "fiveGTMSI": 0xC00007AB,
    }
    place = found["location"]["locationInfo"]["userLocation"]["nRLocation"]
    assert place["tAI"] == {"pLMNID": {"mCC": "001", "mNC": "01"}, "tAC": bytes((0, 0, 1))}
    assert place["nCGI"]["nRCellID"] == (1_638_401, 36)


def test_what_a_function_does_not_tell_is_not_made_up() -> None:
    _, found = value(EventKind.SESSION_BEGIN, {"supi": "imsi-001010000000001"})
    assert (found["pDUSessionID"], found["gTPTunnelID"], found["uEEndpoint"]) == (0, {"tEID": 0}, [])
    _, registered = value(EventKind.REGISTRATION, {"supi": "imsi-001010000000001"})
    assert registered["gUTI"]["fiveGTMSI"] == 0
    assert "location" not in registered
    assert xiri(event(EventKind.MESSAGE, {})) is None


_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from([*SESSION, *REGISTRATION])


@given(
    st.sampled_from([kind for kind in EventKind if kind is not EventKind.MESSAGE]),
    st.dictionaries(_KEYS, _JSON),
    st.lists(st.builds(Identity, st.sampled_from(IdentityKind), _ANY_TEXT | _ANY_TEXT.map("nai-".__add__)), max_size=3),
)
def test_whatever_stands_in_an_event_becomes_a_payload(
    kind: EventKind, details: dict[str, Any], identities: list[Identity]
) -> None:
    octets = xiri(event(kind, {**SESSION, **REGISTRATION, **details}, tuple(identities)))
    assert octets is not None
    read(octets)


def test_a_call_that_was_up_is_release_17s() -> None:
    """Judged by openssl: the module that pycrate has is of release 16."""
    octets = active_session({"caller": "sip:alice@example.net", "called": "tel:+4930" + "5" * 200})
    argv = ["openssl", "asn1parse", "-inform", "DER"]
    tree = subprocess.run(argv, input=octets, capture_output=True, check=True).stdout.decode()
    assert "cont [ 106 ]" in tree
    shapes = [line.partition("prim:")[2].strip() or line.partition("cons:")[2].strip() for line in tree.splitlines()]
    assert shapes == ["SEQUENCE", "cont [ 1 ]", "cont [ 2 ]", "cont [ 106 ]", *["cont [ 1 ]"] * 2, *["cont [ 2 ]"] * 2]
    assert b"\x81\x05\x04\x13\x11\x0f\x01" in octets
