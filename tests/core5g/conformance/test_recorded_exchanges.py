"""Every request of the recordings gets the recorded answer, octet by octet but for what the UPF chooses and times."""

from __future__ import annotations

import pytest

from lab.mobile import pfcp
from lab.mobile.pfcp import Kind, T
from tests.core5g.conformance.conftest import Lab
from tests.core5g.conformance.replay import Caller, Exchange, Translation, exchanges, masked, smf_exchanges

pytestmark = pytest.mark.root

_EDGE = bytes((10, 50, 0, 8))
_CONTROL = bytes((10, 50, 0, 3))
_USAGE = (T.USAGE_REPORT_DELETION, T.USAGE_REPORT_SESSION_REPORT)


def _caller(lab: Lab, exchange: Exchange) -> Caller:
    """Who asked whom: by the request's Node ID or its name, and the answer's."""
    message = pfcp.parse(exchange.request)
    node = message.first(T.NODE_ID) or b""
    answering = (pfcp.parse(exchange.answer).first(T.NODE_ID) or b"") if exchange.answer else b""
    if exchange.name.startswith("psa2") or answering.endswith(_EDGE):
        return lab.caller("10.50.0.3", "10.50.0.8")
    if exchange.name.startswith(("second_cp", "rm")) or node.endswith(_CONTROL):
        return lab.caller("10.50.0.3", "10.50.0.7")
    return lab.caller(
        "10.50.0.4" if node.endswith(b"\x04") or exchange.name in ("smf", "inject_modification") else "10.50.0.1"
    )


def _without_usage(answer: list[object]) -> list[object]:
    """Volumes are of the packets that passed, which are other tests' subject."""
    return [ie for ie in answer if not (isinstance(ie, tuple) and ie[0] in _USAGE)]


def _replay(lab: Lab, recorded: list[Exchange]) -> None:
    translation = Translation()
    unanswered: list[bytes] = []
    for exchange in recorded:
        caller, data = _caller(lab, exchange), translation.request(exchange.request)
        if exchange.answer is None:
            caller.socket.sendto(data, caller.upf)
            unanswered.append(data)
            continue
        live = caller.ask_raw(data)
        assert _without_usage(masked(live)) == _without_usage(masked(exchange.answer)), exchange.name
        translation.learn(exchange.answer, live)
    for caller in (lab.caller("10.50.0.1"), lab.caller("10.50.0.3")):
        if recorded[0].name == "association_setup" and unanswered:
            seqs = {(data[1] + 1, pfcp.parse(data).seq) for data in unanswered}
            assert not _answers(caller) & seqs


def _answers(caller: Caller) -> set[tuple[int, int]]:
    """What comes to a peer before its heartbeat is answered."""
    seq, found = caller.next_seq(), set()
    caller.socket.sendto(pfcp.build(Kind.HEARTBEAT_REQUEST, seq, caller.recovery), caller.upf)
    while True:
        message = pfcp.parse(caller.socket.recv(65536))
        if message.type == Kind.HEARTBEAT_RESPONSE and message.seq == seq:
            return found
        found.add((message.type, message.seq))


@pytest.mark.parametrize("run", ["run1", "run2", "run3"])
def test_every_recorded_request_gets_the_recorded_answer(lab: Lab, run: str) -> None:
    _replay(lab, exchanges(run))


def test_a_real_smf_gets_the_recorded_answers(lab: Lab) -> None:
    _replay(lab, smf_exchanges())
