"""The services in a real NOC: set, ready, and answering from its own policy."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nf.media.dvbi.service import PATH, Dvbi
from nf.media.steering.service import Steering
from nf.noc import services as hosting
from nf.noc.services import write_settings
from tests.nf.media.hosting_players import ask
from tests.support.fleet import DOMAIN, in_process_fleet

ACTOR = f"spiffe://{DOMAIN}/operator/eve"


async def test_services_for_players_are_hosted_with_what_the_noc_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "_LOOK_S", 0.05)
    async with in_process_fleet(tmp_path) as fleet:
        await fleet.commit({"ch1": 1})
        store = fleet.node.book.store
        await write_settings(store, Steering(), {"address": "127.0.0.1:0"}, ACTOR)
        list_settings = {
            "address": "127.0.0.1:0",
            "list": "tag:streamverse.test,2026:list",
            "name": "StreamVerse",
            "provider": "StreamVerse",
            "country": "FRA",
        }
        await write_settings(store, Dvbi(), list_settings, ACTOR)

        def port(name: str) -> int:
            assert fleet.noc is not None
            return int(fleet.noc.services.facts.get(name, {}).get("port", 0))

        await fleet.until(lambda: port("steering") > 0 and port("dvbi") > 0)
        steering: Any = SimpleNamespace(port=port("steering"))
        refused = await ask(steering, "/steering/v1/hls/ch1")
        assert (refused.status, "steered" in json.loads(refused.body)["message"]) == (404, True)
        dvbi: Any = SimpleNamespace(port=port("dvbi"))
        answer = await ask(dvbi, PATH)
        assert (answer.status, b'version="1"' in answer.body) == (200, True)
