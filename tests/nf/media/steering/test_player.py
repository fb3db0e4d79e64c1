"""The steering server and our playlists with a player of somebody else: hls.js, where it is installed.

`make setup` fetches it where there is npm; `HLS_JS=.../dist/hls.mjs` names another. Seen with 1.7.4.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.paths import Verdict
from nf.documents.lineup import LineUp
from nf.media.documents import Pathways
from nf.media.packager.steered import Steered
from nf.media.steering import service as module
from nf.media.steering.service import Steering, SteeringSettings
from tests.nf.media.hosting_players import Host, lab_lineup, serving
from tests.nf.media.steering.players import SHAKA_MULTIVARIANT

PLAYER = __file__.replace("test_player.py", "hls_player.mjs")
HLS_JS = os.environ.get("HLS_JS", f"{sys.prefix}/share/player/node_modules/hls.js/dist/hls.mjs")
SITES = ("pop1", "pop2", "pop3", "pop4", "pop5", "pop6")


@pytest.fixture(autouse=True)
def _hls_js(require_programs: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path(HLS_JS).is_file():
        pytest.skip("needs hls.js: `make setup` fetches it where there is npm, or HLS_JS is the path of hls.mjs")
    require_programs("node")
    monkeypatch.setenv("HLS_JS", HLS_JS)
    monkeypatch.setattr(module, "FRESH_S", 0.0)


async def played(host: Host, sites: tuple[str, ...]) -> dict[str, Any]:
    """What hls.js plays when it has heard from the steering server."""
    pathways = Pathways(server=f"http://127.0.0.1:{host.port}", host="cdn.streamverse.test", sites=sites)
    playlist = Steered("ch1", "ott", pathways).multivariant(SHAKA_MULTIVARIANT).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(playlist) + playlist)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/ch1/master.m3u8"
        player = await asyncio.create_subprocess_exec("node", PLAYER, url, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(player.communicate(), 90)
    found: dict[str, Any] = json.loads(out)
    return found


def with_sites(sites: tuple[str, ...]) -> LineUp:
    """A line-up whose CDN paths have other sites; nothing is planned with it."""
    lineup = lab_lineup()
    channels = tuple(
        channel.model_copy(
            update={
                "delivery": tuple(
                    path.model_copy(update={"sites": sites}) if path.type == "cdn" else path
                    for path in channel.delivery
                )
            }
        )
        for channel in lineup.spec.channels
    )
    return lineup.model_copy(update={"spec": lineup.spec.model_copy(update={"channels": channels})})


async def test_it_leaves_a_site_that_is_down_with_picture_and_sound() -> None:
    host = Host(SteeringSettings.model_validate({"address": "127.0.0.1:0", "clients": {"pop1": ["127.0.0.0/8"]}}))
    async with serving(Steering(), host):
        at_home = await played(host, SITES[:2])
        assert at_home["levels"] == [["pop1", "http://pop1.cdn.streamverse.test/ch1/video.m3u8"]]
        host.paths.set("ch1", "ott", "pop1", Verdict.DOWN)
        away = await played(host, SITES[:2])
        assert away["priority"] == ["pop2", "any", "pop1"]
        assert away["levels"] == [["pop2", "http://pop2.cdn.streamverse.test/ch1/video.m3u8"]]
        assert away["audio"] == ["http://pop2.cdn.streamverse.test/ch1/audio.m3u8"]


async def test_it_plays_a_pathway_that_the_playlist_does_not_list() -> None:
    settings = SteeringSettings.model_validate({"address": "127.0.0.1:0", "clients": {"pop6": ["127.0.0.0/8"]}})
    host = Host(settings, with_sites(SITES))
    async with serving(Steering(), host):
        cloned = await played(host, SITES)
        assert cloned["priority"][0] == "pop6"
        assert [level[0] for level in cloned["levels"]] == ["pop6"]
        assert cloned["levels"][0][1].startswith("http://pop6.cdn.streamverse.test")
