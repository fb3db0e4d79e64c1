"""The TURN client without a network: challenges, signatures, silence."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from aioice import stun as judge
from hypothesis import given
from hypothesis import strategies as st

from sip.webrtc.credentials import turn_credentials
from sip.webrtc.stun import Method, key_of
from sip.webrtc.turning import FIRST_S, SENT, Answered, Silent, TurnClient

REALM = "voice.test"
KNOWN = turn_credentials("a secret of tests", "alice", 2_000_000_000)
KEY = key_of(KNOWN.username, REALM, KNOWN.password)


def asked(client: TurnClient, now: float = 0.0) -> judge.Message:
    data = client.data_to_send(now)
    assert data is not None
    return judge.parse_message(data)


def answer(request: judge.Message, kind: judge.Class, key: bytes | None = None, **attributes: object) -> bytes:
    made = judge.Message(request.message_method, kind, request.transaction_id)
    for name, value in attributes.items():
        made.attributes[name.replace("_", "-")] = value
    if key is not None:
        made.add_message_integrity(key)
    return bytes(made)


def challenge(client: TurnClient, code: int = 401, nonce: bytes = b"n1") -> None:
    request = asked(client)
    client.receive(answer(request, judge.Class.ERROR, ERROR_CODE=(code, "no"), REALM=REALM, NONCE=nonce), 0.1)


def test_an_allocation_is_asked_for_twice_and_signed_the_second_time() -> None:
    client = TurnClient(KNOWN)
    client.allocate(0.0)
    challenge(client)
    data = client.data_to_send(0.1)
    assert data is not None
    request = judge.parse_message(data)
    assert request.check_message_integrity(KEY)
    assert request.attributes["USERNAME"] == "2000000000:alice"
    assert request.attributes["REQUESTED-TRANSPORT"] == 0x11000000
    told: dict[str, Any] = {"XOR_RELAYED_ADDRESS": ("192.0.2.1", 49152), "LIFETIME": 600}
    told["XOR_MAPPED_ADDRESS"] = ("192.0.2.9", 5000)
    client.receive(answer(request, judge.Class.RESPONSE, KEY, **told), 0.3)
    event = client.next_event()
    assert event == Answered(
        Method.ALLOCATE,
        mapped=(IPv4Address("192.0.2.9"), 5000),
        relayed=(IPv4Address("192.0.2.1"), 49152),
        lifetime_s=600,
        round_s=0.3,
    )
    assert client.next_timeout() is None


@pytest.mark.parametrize("key", [None, b"another key of 16"])
def test_an_answer_that_nobody_signed_is_not_believed(key: bytes | None) -> None:
    client = TurnClient(KNOWN)
    client.allocate(0.0)
    challenge(client)
    request = asked(client)
    client.receive(answer(request, judge.Class.RESPONSE, key, LIFETIME=600), 0.2)
    assert client.next_event() is None
    assert client.next_timeout() is not None


def test_a_stale_nonce_is_renewed_and_a_second_refusal_is_told() -> None:
    client = TurnClient(KNOWN)
    client.allocate(0.0)
    challenge(client)
    challenge(client, 438, b"n2")
    data = client.data_to_send(0.1)
    assert data is not None
    assert judge.parse_message(data).attributes["NONCE"] == b"n2"
    client.receive(answer(judge.parse_message(data), judge.Class.ERROR, ERROR_CODE=(401, "no")), 0.2)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert (event.error, event.reason) == (401, "no")


def test_without_credentials_a_challenge_is_the_answer() -> None:
    client = TurnClient()
    client.allocate(0.0)
    challenge(client)
    event = client.next_event()
    assert isinstance(event, Answered)
    assert event.error == 401


def test_silence_is_told_after_seven_times() -> None:
    """RFC 8489 section 6.2.1: 0, 500, 1500, 3500, 7500, 15500, 31500, and over at 39500 ms."""
    client = TurnClient()
    client.bind(0.0)
    sent, now = [], 0.0
    while client.next_event() is None:
        while client.data_to_send(now) is not None:
            sent.append(round(now * 1000))
        found = client.next_timeout()
        if found is None:
            break
        now = found
    assert len(sent) == SENT
    assert sent == [0, 500, 1500, 3500, 7500, 15500, 31500]
    assert now == 31.5 + 16 * FIRST_S


def test_silence_is_an_event() -> None:
    client = TurnClient()
    client.bind(0.0)
    for number in range(SENT + 1):
        client.data_to_send(1000.0 * number)
    assert client.next_event() == Silent(Method.BINDING)


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_rubbish_changes_nothing(packets: list[bytes]) -> None:
    client = TurnClient(KNOWN)
    client.bind(0.0)
    for one in packets:
        client.receive(one, 0.1)
    assert client.next_event() is None
    assert client.next_timeout() == FIRST_S
