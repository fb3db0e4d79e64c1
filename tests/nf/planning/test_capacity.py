from __future__ import annotations

from nf.documents.loader import load_fleet, load_lineup
from nf.errors import DocumentError, Problem
from nf.planning.capacity import LinkUse
from nf.planning.compiler import compile_documents
from tests.nf.planning.samples import DOCUMENTS, PLANNERS, REGISTRY, compiled, lineup_data, problems


def test_the_sum_of_every_loaded_direction() -> None:
    assert compiled().links == tuple(
        LinkUse(link, sender, 2_000_000, capacity)
        for link, sender, capacity in (
            ("c1-pop1", "c1", 10_000_000),
            ("c1-pop2", "c1", 10_000_000),
            ("c2-pop1", "c2", 10_000_000),
            ("c2-pop2", "c2", 10_000_000),
            ("hl", "headend", 100_000_000),
            ("pop1-r1", "pop1", 10_000_000),
            ("pop2-r2", "pop2", 10_000_000),
            ("pop2-r3", "pop2", 10_000_000),
        )
    )


def test_the_sample_that_does_not_fit_names_every_link_that_is_short() -> None:
    name = "lineup-overload.yaml"
    lineup = load_lineup((DOCUMENTS / name).read_bytes(), file=name, extensions=REGISTRY)
    fleet = load_fleet((DOCUMENTS / "fleet.yaml").read_bytes(), file="fleet.yaml")
    found: tuple[Problem, ...] = ()
    try:
        compile_documents(lineup, fleet, PLANNERS)
    except DocumentError as error:
        found = error.problems
    assert [problem.rule.partition(" is full")[0] for problem in found] == [
        "link c1-pop1 from c1 to pop1",
        "link c1-pop2 from c1 to pop2",
        "link c2-pop1 from c2 to pop1",
        "link c2-pop2 from c2 to pop2",
        "link pop1-r1 from pop1 to r1",
        "link pop2-r2 from pop2 to r2",
        "link pop2-r3 from pop2 to r3",
    ]
    assert found[0] == Problem(
        rule="link c1-pop1 from c1 to pop1 is full: 11M wanted, 10M there, 1M short "
        "(ch3/iptv 9M, ch1/iptv 1M, ch2/iptv 1M)",
        remedy="lower rates by 1M, remove a channel or a site, or widen the link in the fleet",
        file=name,
        line=43,
        column=70,
        key="spec.channels[2].delivery[0].rate",
        value="9M",
    )
    line = (DOCUMENTS / name).read_text().splitlines()[42]
    assert line[69:].startswith("9M")


def test_exactly_full_is_not_too_much() -> None:
    data = lineup_data()
    data["spec"]["channels"][1]["delivery"][0]["rate"] = "9M"
    assert problems(data) == []
    data["spec"]["channels"][1]["delivery"][0]["rate"] = 9_000_001
    found = problems(data)
    assert len(found) == 7
    assert "10000001 wanted, 10M there, 1 short" in found[0].rule


def test_a_full_lan_names_all_who_listen_on_it() -> None:
    data = lineup_data()
    for channel in data["spec"]["channels"]:
        channel["delivery"][0]["rate"] = "60M"
    assert any(problem.rule.startswith("link hl from headend to c1, c2 is full: 120M") for problem in problems(data))


def test_many_channels_on_a_full_link_are_not_all_listed() -> None:
    data = lineup_data()
    for number in range(3, 20):
        name = f"ch{number}"
        data["spec"]["sources"].append({"id": name, "appliance": "headend", "port": 6100 + number, "bitrate": "1M"})
        path = {"id": "iptv", "type": "ssm", "group": f"232.10.2.{number}", "rate": "1M", "sites": ["pop1"]}
        channel = {"id": name, "name": name, "lcn": number, "uid": f"tag:a.test,2026:{name}", "source": name}
        data["spec"]["channels"].append({**channel, "delivery": [path]})
    found = problems(data)
    assert [problem.key for problem in found] == ["spec.channels[10].delivery[0].rate"] * 3
    assert found[0].rule.endswith("and 9 more)")
