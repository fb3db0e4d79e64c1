"""`nf tree trace` with nodes for appliances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import typer
from typer.testing import CliRunner

from headend.multicast import trace_commands
from headend.multicast.trace.names import DRIVER, TRACE
from headend.multicast.trace.operations import trace_operations
from headend.multicast.tree.driver import create as create_tree
from nf.contracts.driver import Checkpoint
from nf.contracts.json import Json, JsonObject
from nf.contracts.noc_client import CLIENT, NodeOutcome, OperationOutcome
from nf.contracts.planner import Hop
from tests.headend.multicast.tree.network import Node, context


class Terminal:
    """The part of a `NocClient` that prints; `printed`: the lines."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def operation_objects(self, name: str) -> tuple[str, ...]:
        return ("ch1", "ch2", "news")

    def print_json(self, value: Json) -> None:
        self.printed.append(json.dumps(value))

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        self.printed += ["\t".join(row) for row in rows]

    def say(self, text: str) -> None:
        self.printed.append(text)


class Noc(Terminal):
    """A `NocClient` whose appliances are the nodes."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        super().__init__()
        self._nodes = nodes

    def run_operation(
        self, name: str, target: str, arguments: JsonObject, *, past_failures: bool, profile: Path | None
    ) -> OperationOutcome:
        hops = [Hop("ch1", "iptv", order, appliance, "tree") for order, appliance in enumerate(self._nodes)]
        operations = {one.object: one for one in trace_operations(hops)}
        (stage,) = operations[target].stages
        assert name == TRACE
        running = {appliance: self._start(appliance, arguments) for appliance, driver in stage if driver == DRIVER}
        outcomes = tuple(
            NodeOutcome(appliance, DRIVER, 0, "done", result=json.loads(json.dumps(future.result(180))))
            for appliance, future in running.items()
        )
        return OperationOutcome(True, outcomes, 0.1, {})

    def _start(self, appliance: str, arguments: JsonObject) -> Future[JsonObject]:
        node = self._nodes[appliance]
        operation = create_tree(node.context()).operations[TRACE]
        checkpoint = Checkpoint({}, lambda _data: None)
        return node.start(operation.run, arguments, checkpoint, context(60.0))


def run(noc: Terminal, *arguments: str) -> int:
    app = typer.Typer()
    trace_commands.register(app)
    token = CLIENT.set(noc)  # type: ignore[arg-type]
    try:
        return CliRunner().invoke(app, [*arguments], catch_exceptions=False).exit_code
    finally:
        CLIENT.reset(token)
