"""The Operations service: long work on several appliances in order."""

# Names and signatures are those of the RPCs.
# ruff: noqa: N802, ARG002

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from nf.contracts.json import canonical
from nf.control.authorization import current_peer
from nf.control.v1 import operations_pb2 as pb
from nf.control.v1 import operations_pb2_grpc
from nf.errors import InputError
from nf.noc.fleet_operations import DONE, Event
from nf.noc.node import Node

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsService(operations_pb2_grpc.OperationsServicer):
    def __init__(self, node: Node) -> None:
        self._node = node

    async def RunOperation(self, request: pb.RunOperationRequest, context: Context) -> AsyncIterator[pb.OperationEvent]:
        try:
            arguments = json.loads(request.arguments_json or b"{}")
        except ValueError as error:
            raise InputError("the arguments are not JSON", where=request.name) from error
        if not isinstance(arguments, dict):
            raise InputError("the arguments are no JSON object", where=request.name)
        author = str(current_peer())
        run = self._node.operations.run
        async for event in run(request.name, request.object, arguments, author, past_failures=request.past_failures):
            yield _event(event)

    async def ListFleetOperations(
        self, request: pb.ListFleetOperationsRequest, context: Context
    ) -> pb.ListFleetOperationsResponse:
        return pb.ListFleetOperationsResponse(
            operations=[
                pb.FleetOperation(
                    name=operation.name,
                    object=operation.object,
                    stages=[
                        pb.OperationStage(appliances=[name for name, _ in stage], drivers=[name for _, name in stage])
                        for stage in operation.stages
                    ],
                )
                for operation in await self._node.lineups.operations()
                if request.name in {"", operation.name}
            ]
        )


def _event(event: Event) -> pb.OperationEvent:
    message = pb.OperationEvent(
        stage=event.stage,
        stages=event.stages,
        appliance=event.appliance,
        state=event.state,
        fraction=event.fraction,
        done=event.done,
        total=event.total,
        text=event.text,
    )
    if not event.appliance:
        nodes = [
            pb.NodeOutcome(
                appliance=one.appliance,
                driver=one.driver,
                stage=one.stage,
                state=one.state,
                text=one.text,
                result_json=canonical(one.result).encode(),
            )
            for one in event.outcomes
        ]
        outcome = pb.OperationOutcome(complete=event.state == DONE, nodes=nodes, duration_s=event.duration_s)
        message.outcome.CopyFrom(outcome)
    return message
