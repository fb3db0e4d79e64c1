"""Where observation points run, and that nobody's being sought could change it."""

from __future__ import annotations

from sip.interception.documents import SECTION, InterceptionSection
from sip.interception.planner import InterceptionPlanner
from tests.sip.kamailio.fleets import fleet, lineup, voice


def test_one_stands_beside_each_proxy_and_knows_all_relays() -> None:
    made = InterceptionPlanner().plan(lineup(), fleet(voice()))
    assert sorted(made.sections) == ["core1", "core2"]
    assert made.problems == ()
    for name in made.sections:
        section = made.sections[name][SECTION]
        assert isinstance(section, InterceptionSection)
        assert len({one.group for one in section.relays}) == len(section.relays) == 2


def test_subscribers_and_the_order_of_the_document_change_nothing() -> None:
    before = InterceptionPlanner().plan(lineup(), fleet(voice()))
    data = voice().to_json()
    turned = voice(subscribers=[], relays=list(reversed(data["relays"])), proxies=list(reversed(data["proxies"])))  # type: ignore[arg-type]
    assert InterceptionPlanner().plan(lineup(), fleet(turned)).sections == before.sections


def test_without_voice_there_is_none() -> None:
    core = fleet(voice())
    bare = core.model_copy(update={"spec": core.spec.model_copy(update={"equipment": {}})})
    assert InterceptionPlanner().plan(lineup(), bare).sections == {}
