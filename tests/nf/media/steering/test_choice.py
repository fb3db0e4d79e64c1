"""Which pathway players are told to take, over everything that may be known of the sites."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.paths import PathHealth, Ranking, Verdict
from nf.documents.lineup import Channel
from nf.media.documents import SHARED_PATHWAY, CdnPath
from nf.media.steering.choice import Knowledge, Ttl, choose, manifest, steered_path
from tests.nf.media.hosting_players import lab_lineup

SITES = ("pop1", "pop2", "pop3", "pop4", "pop5", "pop6")
TTL = Ttl(300, 10)
LINEUP = lab_lineup()


def _steered(sites: tuple[str, ...] = SITES[:2]) -> tuple[Channel, CdnPath]:
    found = steered_path(LINEUP, "ch1")
    assert found is not None
    channel, path = found
    return channel, path.model_copy(update={"sites": sites})


def _known(verdicts: dict[str, Verdict], *rankings: Ranking) -> Knowledge:
    health = (PathHealth("ch1", "ott", "cdn", site, verdict, "", 0.0) for site, verdict in verdicts.items())
    return Knowledge.of(health, rankings)


def test_a_player_begins_at_its_site_and_has_the_shared_host_behind_the_others() -> None:
    choice = choose(*_steered(), "pop2", _known({}), TTL)
    assert choice.priority == ("pop2", "pop1", SHARED_PATHWAY)
    assert (choice.calm, choice.ttl_s) == (True, 300)


def test_nobody_is_sent_to_a_site_that_is_down_while_another_is_not() -> None:
    choice = choose(*_steered(), "pop1", _known({"pop1": Verdict.DOWN, "pop2": Verdict.UP}), TTL)
    assert choice.priority == ("pop2", SHARED_PATHWAY, "pop1")
    assert (choice.calm, choice.ttl_s) == (False, 10)


def test_a_site_without_any_way_is_out_though_its_probes_are_silent() -> None:
    ranking = Ranking("ch1", "pop1", ("sat", "ott"), "", alert=True, number=3)
    assert choose(*_steered(), "pop1", _known({}, ranking), TTL).priority[0] == "pop2"


def test_who_is_nowhere_goes_to_the_host_of_the_path_unless_a_site_is_bad() -> None:
    assert choose(*_steered(), "", _known({}), TTL).priority[0] == SHARED_PATHWAY
    worse = choose(*_steered(), "", _known({"pop1": Verdict.DOWN}), TTL)
    assert worse.priority == ("pop2", SHARED_PATHWAY, "pop1")
    assert worse.ttl_s == 10


def test_an_alert_at_the_site_shortens_the_time_and_leaves_the_order() -> None:
    alert = Ranking("ch1", "pop1", ("iptv", "ott"), "iptv", alert=True, number=2)
    here = choose(*_steered(), "pop1", _known({}, alert), TTL)
    assert (here.priority[0], here.ttl_s) == ("pop1", 10)
    assert choose(*_steered(), "pop2", _known({}, alert), TTL).ttl_s == 300


def test_of_many_sites_those_that_the_playlist_does_not_list_are_clones() -> None:
    channel, path = _steered(SITES)
    choice = choose(channel, path, "pop6", _known({}), TTL)
    made = manifest(choice, "hls", path, "/again")
    assert made["PATHWAY-CLONES"] == [
        {"BASE-ID": "any", "ID": site, "URI-REPLACEMENT": {"HOST": f"{site}.cdn.streamverse.test"}}
        for site in ("pop5", "pop6")
    ]
    assert "PATHWAY-CLONES" not in manifest(choice, "dash", path, "/again")


@given(
    st.fixed_dictionaries({site: st.sampled_from([None, *Verdict]) for site in SITES}),
    st.sampled_from(["", "elsewhere", *SITES]),
    st.sets(st.sampled_from(SITES)),
)
def test_every_pathway_stands_once_and_better_ones_before_worse(
    verdicts: dict[str, Verdict | None], site: str, dead: set[str]
) -> None:
    channel, path = _steered(SITES)
    rankings = [Ranking("ch1", one, ("ott",), "", alert=True, number=1) for one in dead]
    known = _known({one: verdict for one, verdict in verdicts.items() if verdict is not None}, *rankings)
    choice = choose(channel, path, site, known, TTL)
    assert sorted(choice.priority) == sorted((*SITES, SHARED_PATHWAY))
    badness = [known.badness("ch1", "ott", one) for one in choice.priority if one != SHARED_PATHWAY]
    assert badness == sorted(badness)
    if site in SITES and known.badness("ch1", "ott", site) == 0:
        assert choice.priority[0] == site
    assert choice.ttl_s == (300 if choice.calm else 10)


def test_only_steered_paths_are_steered() -> None:
    assert steered_path(lab_lineup(steered=False), "ch1") is None
    for channel, path in product(("ch1", "none"), ("iptv", "ott", "")):
        found = steered_path(LINEUP, channel, path)
        assert (found is not None) == (channel == "ch1" and path != "iptv")
