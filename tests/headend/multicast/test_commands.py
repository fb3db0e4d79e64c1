"""`nf tree` as a person types it: on files, and on what an answering machine for a NOC says is committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from headend.multicast.commands import app
from nf.contracts.json import Json
from nf.contracts.noc_client import CLIENT, CommittedDocuments
from nf.errors import DocumentError, InputError, NotFoundError, UnavailableError
from tests.nf.planning.samples import DOCUMENTS

FILES = ["--lineup", str(DOCUMENTS / "lineup-protected.yaml"), "--fleet", str(DOCUMENTS / "fleet.yaml")]


@dataclass
class Machine:
    """Answers with what is committed; keeps what was said."""

    lineup: str = "lineup-protected.yaml"
    away: bool = False
    said: list[str] = field(default_factory=list)
    tables: list[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = field(default_factory=list)
    printed: list[Json] = field(default_factory=list)

    def committed(self, *, profile: Path | None, timeout_s: float = 15.0) -> CommittedDocuments:
        if self.away:
            raise UnavailableError("nobody there")
        lineup = (DOCUMENTS / self.lineup).read_bytes() if self.lineup else b""
        return CommittedDocuments(7, (self.lineup, lineup), ("fleet.yaml", (DOCUMENTS / "fleet.yaml").read_bytes()))

    def print_json(self, value: Json) -> None:
        self.printed.append(value)

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        assert all(len(row) == len(columns) for row in rows)
        self.tables.append((columns, rows))

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def machine() -> Iterator[Machine]:
    found = Machine()
    token = CLIENT.set(found)  # type: ignore[arg-type]  # no operation is run here
    yield found
    CLIENT.reset(token)


def run(*words: str) -> None:
    CliRunner().invoke(app, words, catch_exceptions=False)


def refused(*words: str) -> Any:
    with pytest.raises((InputError, NotFoundError)) as caught:
        CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    return caught.value


def test_what_is_committed_is_shown(machine: Machine) -> None:
    run("show")
    ((columns, rows),) = machine.tables
    assert columns[:3] == ("PATH", "LEG", "(S, G)")
    assert [row[:2] for row in rows if row[0] == "ch1/twin"] == [
        ("ch1/twin", "a"), ("ch1/twin", "b"), ("ch1/twin", "output"),
    ]  # fmt: skip
    run("show", "--json")
    (printed,) = machine.printed
    assert isinstance(printed, dict)
    assert {(path["channel"], path["path"]) for path in printed["paths"]} == {
        ("ch1", "iptv"), ("ch1", "twin"), ("ch2", "iptv"),
    }  # fmt: skip


def test_a_plan_hop_by_hop(machine: Machine) -> None:
    machine.away = True  # files need nobody
    run("plan", "--channel", "ch1", "--path", "twin", *FILES)
    ((columns, rows),) = machine.tables
    assert columns == ("LEG", "HOP", "FROM", "TO", "LINK", "IPTV MBIT/S", "CAPACITY", "LOAD")
    assert ("a", "1", "c1", "pop1", "c1-pop1", "3.000", "10.000", "30 %") in rows
    assert ("b", "1", "c2", "pop1", "c2-pop1", "3.000", "10.000", "30 %") in rows
    assert ("output", "", "pop2", "r3", "pop2-r3", "3.000", "10.000", "30 %") in rows
    assert machine.said[-4:] == [
        "leg a costs 20; a Steiner tree costs 20 (none less than 15)",
        "leg b costs 20; a Steiner tree costs 20 (none less than 15)",
        "legs are node-disjoint at 2 of 2 PoPs",
        "their pairs of ways cost 80, the cheapest possible 80",
    ]


def test_a_plan_as_json_and_as_a_picture(machine: Machine, tmp_path: Path) -> None:
    run("plan", "--channel", "ch1", "--path", "twin", "--json", "--svg", str(tmp_path / "twin.svg"))
    (printed,) = machine.printed
    assert isinstance(printed, dict)
    (path,) = printed["paths"]
    assert [leg["leg"] for leg in path["legs"]] == ["a", "b"]
    assert path["pairs"] == {"cost": 80, "cheapest": 80}
    picture = ET.parse(tmp_path / "twin.svg").getroot()  # noqa: S314  # our own
    texts = {"".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"headend", "c1", "c2", "pop1", "pop2", "r1", "r2", "r3", "3 / 10", "4 / 100"} <= texts
    paths = [element.get("stroke") for element in picture.iter("{http://www.w3.org/2000/svg}path")]
    assert len({stroke for stroke in paths if stroke}) == 3  # legs a and b, and what goes to receivers


def test_all_paths_of_a_channel_and_one_picture(machine: Machine, tmp_path: Path) -> None:
    run("plan", "--channel", "ch1")
    assert len(machine.tables) == 2
    error = refused("plan", "--channel", "ch1", "--svg", str(tmp_path / "x.svg"))
    assert error.remedy == "choose with --path: iptv, twin"
    error = refused("plan", "--channel", "ch1", "--path", "iptv", "--svg", str(tmp_path / "no" / "x.svg"))
    assert "cannot be written" in error.message


def test_what_if_a_link_or_a_node_is_lost(machine: Machine) -> None:
    run("whatif", "--link", "c1:pop1")
    ((_, rows),) = machine.tables
    assert ("ch1/twin", "a", "pop1", "headend > c1 > pop1", "headend > c2 > pop1") in rows
    assert "both legs of ch1/twin to pop1 then pass c2" in machine.said
    run("whatif", "--node", "c1", "--json")
    (printed,) = machine.printed
    assert isinstance(printed, dict)
    assert printed["loss"] == {"link": None, "node": "c1"}
    assert printed["lost"] == []
    assert {(move["path"], move["pop"]) for move in printed["moves"]} == {
        (path, pop) for path in ("iptv", "twin") for pop in ("pop1", "pop2")
    }
    run("whatif", "--link", "pop1-r1")
    assert "lost: ch1/twin at pop1:eth3" in machine.said


@pytest.mark.parametrize(
    ("words", "message", "remedy"),
    [
        (("plan", "--channel", "ch7"), "no such channel in the line-up", "did you mean ch2?"),
        (("plan", "--channel", "ch1", "--path", "twins"), "no such path of type ssm", "did you mean twin?"),
        (("whatif",), "takes one of --link and --node", "write --link c1:pop1, or --node c1"),
        (("whatif", "--link", "c1:r1"), "no such link in the fleet", ""),
        (("whatif", "--node", "c3"), "no such appliance in the fleet", ""),
        (("show", "--lineup", "/nowhere"), "cannot be read: No such file or directory", ""),
    ],
)
def test_mistakes_are_told(machine: Machine, words: tuple[str, ...], message: str, remedy: str) -> None:
    error = refused(*words)
    assert error.message == message
    assert remedy in error.remedy


def test_nothing_is_committed_yet(machine: Machine) -> None:
    machine.lineup = ""
    assert refused("show").remedy == "give a file: --lineup FILE"


def test_a_path_that_cannot_be_planned_says_why_and_where(machine: Machine, tmp_path: Path) -> None:
    text = (DOCUMENTS / "lineup-protected.yaml").read_text().replace("source: studio-ch1-twin", "source: studio-ch9")
    (tmp_path / "lineup.yaml").write_text(text)
    with pytest.raises(DocumentError) as caught:
        run("plan", "--channel", "ch1", "--path", "twin", "--lineup", str(tmp_path / "lineup.yaml"), *FILES[2:])
    (problem,) = caught.value.problems
    assert (problem.key, problem.rule) == ("spec.channels[0].delivery[1].source", "no such source in spec.sources")
    assert problem.line > 0
    run("show", "--lineup", str(tmp_path / "lineup.yaml"), *FILES[2:])
    assert machine.said[-1].startswith("1 problem of ")


def test_completion(machine: Machine) -> None:
    from headend.multicast.given import channels, links_and_nodes

    assert channels(None, None) == ["ch1", "ch2"]
    links, nodes = links_and_nodes(DOCUMENTS / "fleet.yaml", None)
    assert "c1-pop1" in links
    assert "pop1" in nodes
    machine.away = True
    assert channels(None, None) == []
    assert links_and_nodes(None, None) == ([], [])
