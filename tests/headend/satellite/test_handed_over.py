"""The lab's line-up compiled whole: the CDN path as the satellite's fallback, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from headend.satellite.documents import ReceiverSection
from nf.documents.fleet import Fleet
from nf.documents.handovers import handovers
from nf.documents.lineup import LineUp
from nf.documents.registry import registry
from nf.documents.validation import validate
from nf.errors import DocumentError
from nf.media.adopter import MediaAdopter
from nf.media.documents import IntakeSection
from nf.planning.compiler import Compiled, compile_lineup, load_planners
from tests.nf.planning.samples import DOCUMENTS


def data(name: str = "lineup.yaml") -> Any:
    return YAML(typ="safe").load((DOCUMENTS / name).read_text())


def lineup(given: Any) -> LineUp:
    document, violations = validate(LineUp, copy.deepcopy(given), registry())
    assert document is not None, violations
    return document


def fleet(given: Any = None) -> Fleet:
    document, violations = validate(Fleet, given or data("fleet.yaml"), registry())
    assert document is not None, violations
    return document


def compiled(given: Any, change: Fleet | None = None) -> Compiled:
    return compile_lineup(lineup(given), change or fleet(), load_planners())


def path(given: Any, channel: int, name: str) -> Any:
    return next(one for one in given["spec"]["channels"][channel]["delivery"] if one["id"] == name)


def test_who_gives_and_who_takes_find_the_same_place() -> None:
    result = compiled(data())
    for pop, edge in (("pop1", "10.255.0.3"), ("pop2", "10.255.0.4")):
        sections = result.configs[pop].sections
        receiver, intake = sections["satellite-receiver"], sections["stream-intake"]
        assert isinstance(receiver, ReceiverSection)
        assert isinstance(intake, IntakeSection)
        taken = {
            service.channel: (service.fallback, service.fallback_address, service.fallback_port)
            for service in receiver.carriers[0].services
        }
        given = {
            one.channel: (one.path, output.address, output.port) for one in intake.channels for output in one.outputs
        }
        assert taken == given
        assert set(taken) == {"ch1", "ch2"}
        assert all(one.url == f"http://{edge}/{one.channel}/master.m3u8" for one in intake.channels)
        rules = receiver.carriers[0].services[0].failover
        assert rules is not None
        assert (rules.hold_down_ms, rules.failback_after_ms, rules.failback_approve) == (2000, 5000, "auto")
    named = {(operation.name, operation.object) for operation in result.operations}
    assert {("failback", f"ch{n}/pop{m}") for n in (1, 2) for m in (1, 2)} <= named


def test_a_pop_without_an_edge_asks_the_nearest_one_and_its_links_carry_it() -> None:
    changed = data("fleet.yaml")
    for placement in changed["spec"]["placement"]:
        if placement["function"] == "cdn-edge":
            placement["appliances"] = ["pop2"]
    changed["spec"]["equipment"]["core5g"].pop("classifiers")
    for upf in changed["spec"]["equipment"]["core5g"]["upfs"]:
        upf["steering"] = "none"
    given = data()
    for number in (0, 1):
        path(given, number, "ott")["sites"] = ["pop2"]
        delivery = given["spec"]["channels"][number]["delivery"]
        given["spec"]["channels"][number]["delivery"] = [one for one in delivery if one["id"] != "mobile"]
    result = compiled(given, fleet(changed))
    intake = result.configs["pop1"].sections["stream-intake"]
    assert isinstance(intake, IntakeSection)
    assert {one.url for one in intake.channels} == {f"http://10.255.0.4/ch{n}/master.m3u8" for n in (1, 2)}


def test_a_path_that_no_pop_can_have_is_no_fallback() -> None:
    given = data()
    path(given, 0, "sat")["fallback"] = "mobile"
    with pytest.raises(DocumentError) as caught:
        compiled(given)
    assert "a PoP cannot fall back to that path" in {problem.rule for problem in caught.value.problems}


def test_an_encrypted_path_is_no_fallback() -> None:
    given = data()
    path(given, 0, "ott").update(scrambled=True, protection={"scheme": "cbcs", "key": "secret:ch1-key"})
    with pytest.raises(DocumentError) as caught:
        compiled(given)
    (problem,) = caught.value.problems
    assert "falls back to this path, and a PoP has no key" in problem.rule
    assert problem.key.startswith("spec.channels[0].delivery[")
    assert problem.key.endswith("].protection")
    del path(given, 0, "sat")["fallback"]
    result = compiled(given)
    intake = result.configs["pop1"].sections["stream-intake"]
    assert isinstance(intake, IntakeSection)
    assert {one.channel for one in intake.channels} == {"ch2"}


@settings(deadline=None, max_examples=12)
@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["iptv", "ott"]))
def test_a_scrambled_path_never_falls_back_to_a_clear_one_unless_the_line_up_says_so(
    scrambled: bool, other: bool, allowed: bool, fallback: str
) -> None:
    given = data()
    path(given, 0, "sat").update(scrambled=scrambled, fallback=fallback)
    path(given, 0, fallback)["scrambled"] = other
    given["spec"]["channels"][0]["failover"] = {"allow_clear": allowed}
    if scrambled and not other and not allowed:
        with pytest.raises(DocumentError) as caught:
            compiled(given)
        assert {problem.key.rpartition(".")[0] for problem in caught.value.problems} == {"spec.channels[0].delivery[1]"}
    else:
        compiled(given)


def test_an_intake_is_described_by_the_paths_that_it_serves() -> None:
    result = compiled(data())
    observed = {
        name: {section: value.to_json() for section, value in config.sections.items()}
        for name, config in result.configs.items()
    }
    adopter = MediaAdopter()
    assert "stream-intake" in adopter.sections
    assert adopter.adopt(observed, fleet()).problems == ()
    assert {one.giver for one in handovers(lineup(data()), fleet())} == {"ott"}
