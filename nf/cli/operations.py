"""Fleet operations as the commands of domains run them (`nf.contracts.noc_client`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nf.contracts.json import Json, JsonObject, canonical
from nf.contracts.noc_client import CommittedDocuments, NodeOutcome, OperationOutcome
from nf.errors import NfError, UnavailableError

if TYPE_CHECKING:
    from nf.control.v1.operations_pb2 import OperationEvent, Order, RunOperationRequest
    from nf.control.v1.operations_pb2 import OperationOutcome as OutcomeMessage

_COMPLETION_S = 1.0


class FleetClient:
    """Implements the contract on the NOC of the operator's profile."""

    def run_operation(
        self,
        name: str,
        target: str,
        arguments: JsonObject,
        *,
        past_failures: bool,
        profile: Path | None,
        watch: bool = True,
    ) -> OperationOutcome:
        from nf.cli.client import run
        from nf.cli.output import note
        from nf.control.v1.operations_pb2 import RunOperationRequest

        request = RunOperationRequest(
            name=name, object=target, arguments_json=canonical(arguments).encode(), past_failures=past_failures
        )
        try:
            return _outcome(run(_follow(profile, request, watch=watch)))
        except KeyboardInterrupt:
            note("stopped watching; it goes on: `nf audit` says how it ended")
            raise

    def orders(self, name: str, target: str, *, limit: int, profile: Path | None) -> tuple[JsonObject, ...]:
        from nf.cli.client import CALL_TIMEOUT_S, connected, run
        from nf.control.v1.operations_pb2 import ListOrdersRequest
        from nf.control.v1.operations_pb2_grpc import OperationsStub

        async def ask() -> tuple[JsonObject, ...]:
            async with connected(profile) as channel:
                request = ListOrdersRequest(name=name, object=target, limit=limit)
                answer = await OperationsStub(channel).ListOrders(request, timeout=CALL_TIMEOUT_S)
                return tuple(map(_order, answer.orders))

        return run(ask())

    def order(self, name: str, identity: str, *, profile: Path | None) -> tuple[JsonObject, ...]:
        from nf.cli.client import CALL_TIMEOUT_S, connected, run
        from nf.control.v1.operations_pb2 import GetOrderRequest
        from nf.control.v1.operations_pb2_grpc import OperationsStub

        async def ask() -> tuple[JsonObject, ...]:
            async with connected(profile) as channel:
                request = GetOrderRequest(name=name, id=identity)
                answer = await OperationsStub(channel).GetOrder(request, timeout=CALL_TIMEOUT_S)
                return tuple(map(_order, answer.orders))

        return run(ask())

    def operation_objects(self, name: str) -> tuple[str, ...]:
        from nf.cli.client import connected, run
        from nf.control.v1.operations_pb2 import ListFleetOperationsRequest
        from nf.control.v1.operations_pb2_grpc import OperationsStub

        async def ask() -> tuple[str, ...]:
            async with connected() as channel:
                stub = OperationsStub(channel)
                answer = await stub.ListFleetOperations(ListFleetOperationsRequest(name=name), timeout=_COMPLETION_S)
                return tuple(operation.object for operation in answer.operations)

        try:
            return run(ask())
        except (NfError, OSError, ValueError):
            return ()

    def committed(self, *, profile: Path | None, timeout_s: float = 15.0) -> CommittedDocuments:
        from nf.cli.client import ask
        from nf.control.v1.noc_pb2 import GetRevisionRequest

        answer = ask(profile, lambda noc: noc.GetRevision, GetRevisionRequest(), timeout_s=timeout_s)
        lineup, fleet = answer.lineup, answer.fleet
        return CommittedDocuments(answer.summary.revision, (lineup.file, lineup.text), (fleet.file, fleet.text))

    def print_json(self, value: Json) -> None:
        from nf.cli.output import print_json

        print_json(value)

    def print_table(self, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
        from nf.cli.output import out, table

        grid = table(*columns)
        for row in rows:
            grid.add_row(*row)
        out().print(grid)

    def say(self, text: str) -> None:
        from nf.cli.output import say

        say(text)


async def _follow(profile: Path | None, request: RunOperationRequest, *, watch: bool) -> OutcomeMessage:
    from nf.cli.client import connected
    from nf.cli.progress import OperationProgress
    from nf.control.v1.operations_pb2_grpc import OperationsStub

    last: OperationEvent | None = None
    async with connected(profile) as channel:
        with OperationProgress() as progress:
            async for event in OperationsStub(channel).RunOperation(request):
                last = event
                if watch:
                    progress.take(event)
    if last is None or not last.HasField("outcome"):
        raise UnavailableError("the answer ended too early", remedy="`nf audit` says how it ended")
    return last.outcome


def _order(message: Order) -> JsonObject:
    from nf.cli.wire import to_json

    return to_json(message)


def _outcome(message: OutcomeMessage) -> OperationOutcome:
    import json

    from nf.cli.wire import to_json

    nodes = tuple(
        NodeOutcome(one.appliance, one.driver, one.stage, one.state, one.text, json.loads(one.result_json or b"{}"))
        for one in message.nodes
    )
    return OperationOutcome(message.complete, nodes, message.duration_s, to_json(message))
