"""What a purge is about, and when it is proved. No cache needed."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import RealClock
from nf.contracts.driver import Checkpoint
from nf.contracts.json import JsonObject
from nf.contracts.planner import Contribution, FleetOperation
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import load_fleet, load_lineup
from nf.errors import InputError, IntegrityError
from nf.media.http import Response
from nf.media.purge import ELAPSED, Proof, Scope, added, lead_of, listed, scope_of, scope_of_url
from nf.planning.compiler import compile_lineup
from tests.nf.media.test_planner import compiled, lineup_data, path
from tests.support.fleet import SMALL, fleet_text, lineup_text

_WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
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


@given(_WORD, st.lists(_WORD, max_size=3), st.booleans(), st.sampled_from(["", "?a=b", "#top"]))
def test_a_url_names_what_is_below_its_channel(channel: str, names: list[str], below: bool, rest: str) -> None:
    name = "/".join(names) + ("/" if below and names else "")
    scope = scope_of_url(f"http://cdn.test:8080/{channel}/{name}{rest}")
    assert scope == Scope(channel, "cdn.test", name)
    assert scope.whole is not bool(names)
    assert scope.single is (bool(names) and not below)
    assert scope.covers(name)


@pytest.mark.parametrize("arguments", [{}, {"channel": ""}, {"channel": "a", "url": "http://h.t/a/"}, {"channel": 1}])
def test_one_of_channel_and_url_is_needed(arguments: JsonObject) -> None:
    with pytest.raises(InputError):
        scope_of(arguments)


@pytest.mark.parametrize("url", ["http://", "ch1", "http://[", "http://h.t", "http://h.t/", "http://h.t/ch1/a b"])
def test_a_url_that_names_nothing_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        scope_of_url(url)


async def test_the_manifests_name_what_stands_for_a_channel() -> None:
    bodies = {"master.m3u8": MASTER, "v0/index.m3u8": MEDIA, "a0/index.m3u8": b"no playlist"}

    async def get(name: str) -> Response:
        return Response(200, {}, bodies[name])

    assert await listed(get) == (
        *("master.m3u8", "manifest.mpd", "v0/index.m3u8", "a0/index.m3u8"),
        *("v0/init.mp4", "v0/1.m4s", "v0/2.m4s"),
    )


def test_an_answer_from_before_the_purge_is_stale() -> None:
    def proof(age: int, *, hit: bool, fleet_s: float = math.inf, status: int = 200) -> Proof:
        made = Proof()
        made.take("x", Response(status, {"age": str(age)}, b""), hit=hit, here_s=1.0, fleet_s=fleet_s)
        return made

    assert proof(0, hit=False) == Proof(refetched=1)
    assert proof(0, hit=False, status=404) == Proof(gone=1)
    assert proof(1, hit=True) == Proof(refilled=1, oldest_s=1)
    assert proof(9, hit=True).stale == ["x"]
    # This cache asked anew, and the one above it had not been purged.
    assert proof(9, hit=False, fleet_s=5.0).stale == ["x"]
    assert proof(5, hit=False, fleet_s=5.0) == Proof(refetched=1, oldest_s=5)


def test_two_proofs_add_up() -> None:
    assert added({}, Proof(1, 2, 3, 4).to_json()) == Proof(1, 2, 3, 4).to_json()
    assert added(Proof(1, 2, 3, 4).to_json(), Proof(1, 0, 0, 9).to_json()) == Proof(2, 2, 3, 9).to_json()


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
    assert [(one.name, one.object) for one in found] == [("purge", "ch1"), ("purge", "ch2")]
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
