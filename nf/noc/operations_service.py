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
from nf.errors import InputError, NotFoundError
from nf.noc.node import Node
from nf.noc.orders import Order
from nf.noc.outcomes import DONE, Event

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

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        limit = request.limit or _LISTED
        found = (
            order
            for order in self._node.operations.orders.all()
            if request.name in {"", order.name} and request.object in {"", order.object}
        )
        return pb.ListOrdersResponse(orders=[_order(order) for order, _ in zip(found, range(limit), strict=False)])

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        found = [
            order
            for order in self._node.operations.orders.all()
            if order.name == request.name and (order.id == request.id or str(order.seq) == request.id)
        ]
        if not found:
            raise NotFoundError(
                f"no {request.name} has this id or number",
                where=request.id,
                remedy=f"see nf {request.name} list; what is done is kept for a while only",
            )
        return pb.GetOrderResponse(orders=[_order(order) for order in found])


_LISTED = 100


def _order(order: Order) -> pb.Order:
    members = [
        pb.OrderMember(appliance=appliance, driver=driver, stage=number, acknowledged=(number, appliance) in order.done)
        for number, stage in enumerate(order.stages)
        for appliance, driver in stage
    ]
    return pb.Order(
        stream=order.stream,
        seq=order.seq,
        id=order.id,
        name=order.name,
        object=order.object,
        arguments_json=canonical(order.arguments).encode(),
        author=order.author,
        accepted_at_s=order.accepted_at,
        not_before_s=order.not_before,
        expires_s=order.expires,
        ended_at_s=order.ended_at,
        state=str(order.state),
        why=order.why,
        attempts=order.attempts,
        members=members,
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
