"""What the demo reads of steering and service lists, at the real services: a cut satellite, and the way back."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import pytest

from lab.scenarios import bootstrap, fallback
from lab.scenarios.console import Answer
from nf.media.dvbi.service import Dvbi
from nf.media.steering.service import Steering
from tests.nf.media.hosting_players import Host, serving


class Desk:
    """Stands for a console: every node is this machine."""

    def sh(self, _node: str, *command: str) -> Answer:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)


def host_of(service: Any) -> Host:
    """With the settings of the demo, but for the port."""
    settings = dict(word.split("=", 1) for word in bootstrap.SERVICES[service.name])
    return Host(service.settings.model_validate({**settings, "address": "127.0.0.1:0"}))


async def until(seen: Any) -> None:
    async with asyncio.timeout(90):
        while not await asyncio.to_thread(seen, Desk()):  # noqa: ASYNC110 - as players do
            await asyncio.sleep(0.05)


async def test_what_is_said_outside_follows_the_cut_and_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [host_of(Steering()), host_of(Dvbi())]

    def rank(*paths: str, alert: bool) -> None:
        for host in hosts:
            for channel in fallback.GROUPS:
                host.paths.rank(channel, fallback.POP, *paths, alert=alert)

    rank("sat", "iptv", "ott", alert=False)
    async with serving(Steering(), hosts[0]), serving(Dvbi(), hosts[1]):
        monkeypatch.setattr(bootstrap, "STEERING", f"http://127.0.0.1:{hosts[0].port}")
        monkeypatch.setattr(bootstrap, "SERVICE_LIST", f"http://127.0.0.1:{hosts[1].port}")
        await until(fallback._calm)
        desk: Any = Desk()
        steered, before = await asyncio.to_thread(fallback.told_outside, desk)
        assert str(steered["ch2"]) == "pop1 > pop2 > any, TTL 300 s"
        assert before.paths == dict.fromkeys(fallback.NUMBERS.values(), ("sat", "iptv", "ott"))
        rank("ott", "iptv", "sat", alert=True)
        await until(fallback._alert)
        _, cut = await asyncio.to_thread(fallback.told_outside, desk)
        assert cut.paths == dict.fromkeys(fallback.NUMBERS.values(), ("ott", "iptv", "sat"))
        rank("sat", "iptv", "ott", alert=False)
        await until(fallback._calm)
        _, back = await asyncio.to_thread(fallback.told_outside, desk)
        assert before.version < cut.version < back.version
