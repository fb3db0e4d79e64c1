"""`nf tree trace` where appliances are silent, nothing flows, or what is asked makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headend.multicast import trace_commands
from headend.multicast.trace.operations import trace_operations
from headend.multicast.trace.reading import FlowReading, NodeReading
from nf.contracts.json import JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.contracts.planner import FleetOperation, Hop
from nf.errors import DriverError, InputError
from tests.headend.multicast.trace.noc import Terminal, run
from tests.headend.multicast.trace.test_walk import FLOW, Tree


class Answers(Terminal):
    """A `NocClient`: `readings` answer, `silent` do not."""

    def __init__(self, readings: list[NodeReading], *silent: str) -> None:
        super().__init__()
        self._nodes = [
            *(NodeOutcome(one.appliance, "multicast-tree", 0, "done", result=one.to_json()) for one in readings),
            *(NodeOutcome(name, "multicast-tree", 0, "offline", "is offline") for name in silent),
        ]
        self.asked: list[JsonObject] = []

    def run_operation(
        self, name: str, target: str, arguments: JsonObject, *, past_failures: bool, profile: Path | None
    ) -> OperationOutcome:
        self.asked.append(arguments)
        complete = all(node.state == "done" for node in self._nodes)
        return OperationOutcome(complete, tuple(self._nodes), 0.1, {})


def test_all_count_at_one_instant_of_their_own_clocks() -> None:
    client = Answers(Tree([0, 1]).readings())
    assert run(client, "ch1", "r2", "--interval", "500ms") == 0
    first, second = client.asked
    assert first == {"channel": "ch1"}
    assert second["interval_s"] == 0.5
    assert second["receiver"] == "r2"
    assert float(str(second["start_at"])) > 1000.5
    assert second["flows"] == [{"path": "iptv", "leg": "", "role": "tree", "source": FLOW.source, "group": FLOW.group}]
    assert [line.split("\t")[1:5] for line in client.printed[1:4]] == [
        ["r2", "up", "lan", "r1"],
        ["r1", "up", "down2", "source"],
        ["source", "-", "eth1", "-"],
    ]
    assert client.printed[-1] == "no packets vanish"


def test_a_loss_is_told_and_makes_exit_code_1() -> None:
    tree = Tree([0, 1], losses={2: (1, 0.5)})
    client = Answers(tree.readings())
    assert run(client, "ch1", "r2") == 1
    assert client.printed[-1] == "400 of 800 packets (50.0%) vanish on r1:down2 -> r2:up, on the wire"
    client = Answers(tree.readings())
    assert run(client, "ch1", "r2", "--json", "--path", "iptv") == 1
    (way,) = json.loads(client.printed[0])["ways"]
    assert way["vanished"] == [
        {"link": "r1:down2 -> r2:up", "part": "on the wire", "packets": 400, "of": 800, "share": 0.5}
    ]


def test_who_does_not_answer_is_named() -> None:
    readings = [one for one in Tree([0, 1, 2]).readings() if one.appliance != "r2"]
    client = Answers(readings, "r2")
    assert run(client, "ch1", "r3") == 1
    assert "it ends there: 10.9.3.0, whom r3 asks for it, has not answered" in client.printed
    assert client.printed[-1] == "r2 does not answer"
    with pytest.raises(DriverError, match="r2: is offline"):
        run(Answers([], "r2"), "ch1", "r3")


def test_what_makes_no_sense_is_refused() -> None:
    for interval in ("2", "10ms", "2m", "x"):
        with pytest.raises(InputError, match=r"interval|duration"):
            run(Answers(Tree([0]).readings()), "ch1", "r1", "--interval", interval)
    nothing = [NodeReading("r1", {"eth1": ("10.0.0.1/24",)})]
    with pytest.raises(InputError, match="no appliance carries it"):
        run(Answers(nothing), "ch1", "r1")
    with pytest.raises(InputError, match="no appliance carries it"):
        run(Answers(Tree([0]).readings()), "ch1", "r1", "--path", "other")


def test_a_flow_that_nobody_asks_for() -> None:
    readings = [
        NodeReading("r1", {"eth1": ("10.1.0.1/24",), "eth2": ("10.2.0.1/24",)}, (FlowReading(FLOW),), 1000.0, 2.0)
    ]
    client = Answers(readings)
    assert run(client, "ch1", "10.2.0.50") == 1
    assert "nobody there asks" in client.printed[-1] or "no receiver there asks" in client.printed[-1]


def test_completion_and_the_planners_share() -> None:
    token = CLIENT.set(Answers([]))  # type: ignore[arg-type]
    try:
        assert trace_commands.channels("ch") == ["ch1", "ch2"]
    finally:
        CLIENT.reset(token)
    hops = [
        Hop("ch1", "iptv", 0, "head", "source"),
        Hop("ch1", "iptv", 1, "c1", "tree"),
        Hop("ch1", "b", 1, "c1", "tree"),
    ]
    assert trace_operations(hops) == (
        FleetOperation("tree.trace", "ch1", ((("c1", "multicast-tree"), ("head", "multicast-tree")),)),
    )
