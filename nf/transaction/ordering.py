"""Stages of a transaction over the fleet, from what steps require and provide. Pure and deterministic.

A stage is a set of steps that need nothing of one another; the next begins when all of it is done everywhere.
Irreversible steps stand in stages of their own behind all others: they run after the decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from nf.contracts.driver import Step
from nf.errors import Problem, RefusedError

Node = tuple[str, str]  # appliance, step id


def order_stages(
    steps: Mapping[str, Sequence[Step]], standing: frozenset[str]
) -> tuple[Mapping[str, tuple[str, ...]], ...]:
    """Stages in order; each maps an appliance to the ids of its steps, in the order its drivers planned them.

    A step waits for *every* step that provides a fact it requires, also when the fact stands already: a restart
    provides it anew. Raises RefusedError, with all problems, for a fact that nothing provides and for a cycle.
    """
    nodes: dict[Node, Step] = {(appliance, step.id): step for appliance in sorted(steps) for step in steps[appliance]}
    providers: dict[str, list[Node]] = defaultdict(list)
    for node, step in nodes.items():
        for fact in sorted(step.provides):
            providers[fact].append(node)
    before, problems = _edges(nodes, providers, standing)
    if problems:
        raise _refused(problems)
    depth = _levels(nodes, before)
    last = max((depth[node] for node, step in nodes.items() if step.reversible), default=-1)
    stages: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (appliance, step_id), step in nodes.items():
        level = depth[appliance, step_id] + (0 if step.reversible else last + 1)
        stages[level][appliance].append(step_id)
    return tuple({name: tuple(ids) for name, ids in stages[level].items()} for level in sorted(stages))


def _edges(
    nodes: Mapping[Node, Step], providers: Mapping[str, Sequence[Node]], standing: frozenset[str]
) -> tuple[dict[Node, tuple[Node, ...]], list[Problem]]:
    before: dict[Node, tuple[Node, ...]] = {}
    problems: list[Problem] = []
    for node, step in nodes.items():
        waits: dict[Node, None] = {}
        for fact in sorted(step.requires):
            candidates = providers.get(fact, ())
            useful = [
                other for other in candidates if other != node and (nodes[other].reversible or not step.reversible)
            ]
            if not useful and fact not in standing:
                problems.append(_unmet(node, fact, candidates))
            waits.update(dict.fromkeys(useful))
        before[node] = tuple(waits)
    return before, problems


def _unmet(node: Node, fact: str, candidates: Sequence[Node]) -> Problem:
    appliance, step_id = node
    rule = f"requires {fact}, which does not hold and which no step provides"
    if node in candidates:
        rule = f"requires {fact}, which only this step itself provides"
    elif candidates:
        rule = f"requires {fact}, which only an irreversible step provides, and those run after the decision"
    return Problem(
        rule=rule, remedy="bring the fact about in this or an earlier commit", key=f"{appliance}/{step_id}", value=fact
    )


def _levels(nodes: Mapping[Node, Step], before: Mapping[Node, tuple[Node, ...]]) -> dict[Node, int]:
    after: dict[Node, list[Node]] = defaultdict(list)
    for node, earlier in before.items():
        for other in earlier:
            after[other].append(node)
    waiting = {node: len(earlier) for node, earlier in before.items()}
    depth = {node: 0 for node, count in waiting.items() if count == 0}
    ready = list(depth)
    while ready:
        node = ready.pop()
        for other in after[node]:
            depth[other] = max(depth.get(other, 0), depth[node] + 1)
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
    stuck = [node for node in nodes if waiting[node] > 0]
    if stuck:
        raise _refused([_cycle(nodes, before, set(stuck))])
    return depth


def _cycle(nodes: Mapping[Node, Step], before: Mapping[Node, tuple[Node, ...]], stuck: set[Node]) -> Problem:
    """Walk backwards among the stuck until one comes again: that is a cycle."""
    seen: dict[Node, int] = {}
    path: list[Node] = []
    node = min(stuck)
    while node not in seen:
        seen[node] = len(path)
        path.append(node)
        node = min(other for other in before[node] if other in stuck)
    cycle = path[seen[node] :]
    first = cycle.index(min(cycle))
    cycle = [*cycle[first:], *cycle[: first + 1]]
    links = []
    for later, earlier in pairwise(cycle):
        facts = sorted(nodes[later].requires & nodes[earlier].provides)
        links.append(f"{later[0]}/{later[1]} waits for {earlier[0]}/{earlier[1]} ({', '.join(facts)})")
    return Problem(
        rule="steps wait for one another in a circle: " + "; ".join(links),
        remedy="split the change into two commits",
        key="/".join(cycle[0]),
    )


def _refused(problems: list[Problem]) -> RefusedError:
    return RefusedError("the steps cannot be brought into an order", remedy=problems[0].remedy, problems=problems)
