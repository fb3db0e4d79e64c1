"""Test calls through real Kamailio and real rtpengine: what is measured is what was done to the packets."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nf.clock import RealClock
from sip.calling.documents import AnswerPlan, TestCallPlan
from sip.calling.outcome import Outcome
from sip.calling.placing import Answerer, place
from tests.sip.calling import daemons
from tests.sip.calling.daemons import DOMAIN, PROXY, Daemons

pytestmark = [pytest.mark.root, pytest.mark.daemon]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory, require_root: object) -> Iterator[Daemons]:
    with daemons.running(tmp_path_factory.mktemp("voice")) as made:
        yield made


def plan(**changed: object) -> TestCallPlan:
    given = {
        "id": "edge",
        "proxy": PROXY,
        "port": 5060,
        "domain": DOMAIN,
        "caller": "probe1",
        "called": "probe2",
        "credentials": "secret:probes",
        "answered": "here",
        "seconds": 3,
        **changed,
    }
    return TestCallPlan.model_validate(given)


def call(**changed: object) -> Outcome:
    return asyncio.run(place(plan(**changed), lambda _: daemons.secret(), RealClock()))


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)


@pytest.fixture
def loss() -> Iterator[None]:
    """Every tenth packet that the relay sends to the called is lost."""
    nft(
        "table ip voicetest {\n chain in {\n type filter hook input priority 0;\n"
        f"ip saddr {daemons.RELAY} udp length 180 numgen inc mod 10 == 0 counter drop\n }}\n}}\n"
    )
    yield
    nft("delete table ip voicetest")


def test_a_call_is_measured_both_ways(voice: Daemons) -> None:
    made = call()
    assert made.up, made.text
    assert made.status == 200
    assert made.setup_ms is not None and made.setup_ms > 0
    for way in (made.to_called, made.to_caller):
        assert way is not None
        assert way.measured == "receiver"
        assert way.sent >= 100
        assert way.loss < 0.02
        assert way.delay_ms is not None and 0 < way.delay_ms < 500
    assert voice.rpc("dlg.stats_active")["all"] == 0
    assert voice.rpc("ul.dump")["Domains"][0]["Domain"]["Stats"]["Records"] == 0


def test_loss_on_the_way_is_in_the_mos(voice: Daemons, loss: None) -> None:
    made = call(least_mos=1.0)
    assert made.to_called is not None and made.to_caller is not None
    shares = sorted((made.to_called.loss, made.to_caller.loss))
    print(made.to_json())
    assert 0.08 < sum(shares) < 0.25
    assert made.mos is not None and made.mos < 4.2
