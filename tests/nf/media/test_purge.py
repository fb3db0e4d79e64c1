"""What a purge is about, and when it is proved. No cache needed."""

from __future__ import annotations

import math

import pytest

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.errors import IntegrityError
from nf.media.http import Response
from nf.media.purge.proof import ELAPSED, Proof, added, lead_of, listed
from nf.planning.compiler import compile_lineup
from tests.nf.media.test_planner import compiled, lineup_data, path
from tests.support.fleet import SMALL, fleet_text, lineup_text

MASTER = b"""#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="a0/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO="a"
v0/index.m3u8
"""
MEDIA = b"""#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-MAP:URI="init.mp4"
#EXTINF:2,
1.m4s
#EXTINF:2,
2.m4s
"""


async def test_the_manifests_name_what_stands_for_a_channel() -> None:
    bodies = {"master.m3u8": MASTER, "v0/index.m3u8": MEDIA, "a0/index.m3u8": b"no playlist"}

    async def get(name: str) -> Response:
        return Response(200, {}, bodies[name])

    assert await listed(get) == (
        *("master.m3u8", "manifest.mpd", "v0/index.m3u8", "a0/index.m3u8"),
        *("v0/init.mp4", "v0/2.m4s", "v0/1.m4s"),
    )


def test_an_answer_from_before_the_purge_is_stale() -> None:
    def proof(age: int, word: str, fleet_s: float = math.inf, status: int = 200) -> Proof:
        made = Proof()
        made.take("x", Response(status, {"age": str(age)}, b""), word, here_s=1.0, fleet_s=fleet_s)
        return made

    assert proof(0, "miss") == Proof(refetched=1)
    assert proof(0, "miss", status=404) == Proof(gone=1)
    assert proof(1, "hit") == Proof(refilled=1, oldest_s=1)
    assert proof(0, "stale") == Proof(revalidated=1)
    assert proof(9, "hit").stale == ["x"]
    assert proof(9, "stale").stale == ["x"]  # a cache that lies
    assert proof(3, "hit", fleet_s=5.0) == Proof(refilled=1, oldest_s=3)  # the shield has it from after the purge
    # This cache asked anew, and the one above it had not been purged.
    assert proof(9, "miss", fleet_s=5.0).stale == ["x"]
    assert proof(5, "miss", fleet_s=5.0) == Proof(refetched=1, oldest_s=5)


def test_two_proofs_add_up() -> None:
    assert added({}, Proof(1, 2, 3, 4, 5).to_json()) == Proof(1, 2, 3, 4, 5).to_json()
    assert added(Proof(1, 2, 3, 4, 5).to_json(), Proof(1, 0, 0, 0, 9).to_json()) == Proof(2, 2, 3, 4, 9).to_json()


def test_an_interruption_counts() -> None:
    saved: list[JsonObject] = []
    clock = RealClock()
    assert lead_of({}, Checkpoint({}, saved.append), clock) == math.inf
    assert lead_of({ELAPSED: 2.0}, Checkpoint({}, saved.append), clock) == 2.0
    assert lead_of({ELAPSED: 2.0}, Checkpoint({"began_at": clock.now() - 60}, saved.append), clock) >= 60.0
    assert len(saved) == 1


def test_shields_are_purged_before_the_edges_that_serve_the_channel() -> None:
    shields = (("c1", "cdn-shield"), ("c2", "cdn-shield"))
    edges = (("pop1", "cdn-edge"), ("pop2", "cdn-edge"))
    found = compiled(lineup_data(second=path("ch2", sites=["pop2"]))).operations
    assert [(one.name, one.object) for one in found] == [
        *(("purge", "ch1"), ("purge", "ch2"), ("purge-rules", "edges")),
    ]
    assert found[0].stages == (shields, edges)
    assert found[1].stages[0] == shields
    assert found[1].stages[1] == edges[1:]


def test_two_planners_may_not_offer_the_same_operation() -> None:
    class Twice:
        def __init__(self, name: str) -> None:
            self.name = name

        def plan(self, lineup: LineUp, fleet: Fleet) -> Contribution:
            return Contribution(operations=(FleetOperation("purge", "ch1", ()),))

    lineup = load_lineup(lineup_text({}, "head"), file="lineup.yaml").document
    fleet = load_fleet(fleet_text(SMALL), file="fleet.yaml").document
    with pytest.raises(IntegrityError, match="purge of ch1"):
        compile_lineup(lineup, fleet, [Twice("a"), Twice("b")])
