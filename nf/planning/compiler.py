"""compile(line-up, fleet) -> one configuration for each appliance. Pure; planners come from the domains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points

from nf.contracts.json import digest
from nf.contracts.planner import Contribution, FleetOperation, Hop, Planner
from nf.documents.appliance import ApplianceConfig, ProbeTarget
from nf.documents.fleet import Fleet, FleetSpec
from nf.documents.keys import parse_key
from nf.documents.lineup import LineUp
from nf.documents.loader import Loaded
from nf.documents.model import API_VERSION, DocumentModel, Metadata
from nf.errors import DocumentError, IntegrityError, Problem
from nf.planning.addressing import check_addresses
from nf.planning.capacity import LinkUse, check_capacity
from nf.planning.checks import check_fleet, check_lineup

GROUP = "nf.planners"


@dataclass(frozen=True, slots=True)
class Compiled:
    """`configs`: one for every appliance of the fleet. `links`: every loaded direction of every link."""

    configs: Mapping[str, ApplianceConfig]
    hops: tuple[Hop, ...]
    links: tuple[LinkUse, ...]
    operations: tuple[FleetOperation, ...] = ()
    warnings: tuple[Problem, ...] = ()


def compile_lineup(lineup: LineUp, fleet: Fleet, planners: Sequence[Planner]) -> Compiled:
    """Pure and deterministic. Raises DocumentError with all problems of all rules and planners together.

    The same documents in another order of their lists give equal results. Two planners that fill the same section of
    an appliance are a fault of the software, not of the documents: IntegrityError.
    """
    ordered = sorted(planners, key=lambda planner: planner.name)
    contributions = [(planner.name, planner.plan(lineup, fleet)) for planner in ordered]
    loads = [load for _, contribution in contributions for load in contribution.loads]
    links, overloads = check_capacity(lineup, fleet, loads)
    problems = [
        *check_lineup(lineup, fleet),
        *check_fleet(fleet),
        *check_addresses(fleet),
        *(problem for _, contribution in contributions for problem in contribution.problems),
        *overloads,
    ]
    if problems:
        raise DocumentError(problems, where=lineup.metadata.name)
    hops = sorted(
        (hop for _, contribution in contributions for hop in contribution.hops),
        key=lambda hop: (hop.channel, hop.path, hop.order, hop.appliance, hop.point),
    )
    warnings = tuple(warning for _, contribution in contributions for warning in contribution.warnings)
    return Compiled(_configs(fleet, contributions), tuple(hops), links, _operations(contributions), warnings)


def compile_documents(lineup: Loaded[LineUp], fleet: Loaded[Fleet], planners: Sequence[Planner]) -> Compiled:
    """`compile_lineup` with file, line and column in every problem and every warning."""
    try:
        compiled = compile_lineup(lineup.document, fleet.document, planners)
    except DocumentError as error:
        placed = [_place(problem, lineup, fleet) for problem in error.problems]
        placed.sort(key=lambda p: (p.file != lineup.file, p.file, p.line, p.column, p.key, p.rule))
        raise DocumentError(placed, where=lineup.file) from None
    return replace(compiled, warnings=tuple(_place(warning, lineup, fleet) for warning in compiled.warnings))


@cache
def load_planners() -> tuple[Planner, ...]:
    """The planners of everything that is installed, by name. Raises IntegrityError when two share one."""
    planners: dict[str, Planner] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        planner: Planner = point.load()()
        if planner.name in planners:
            raise IntegrityError(f"two planners are called {planner.name!r}", where=point.value)
        planners[planner.name] = planner
    return tuple(planners[name] for name in sorted(planners))


def config_digest(config: ApplianceConfig) -> str:
    """SHA-256 of the configuration's canonical JSON, in hexadecimal: equal for equal configurations only."""
    return digest(config.to_json())


def _place(problem: Problem, lineup: Loaded[LineUp], fleet: Loaded[Fleet]) -> Problem:
    """The two documents have no key below `spec` in common, so that the key alone tells which one it is."""
    loc = parse_key(problem.key)
    in_fleet = len(loc) > 1 and loc[1] in FleetSpec.model_fields
    return fleet.place(problem) if in_fleet else lineup.place(problem)


def _operations(contributions: Sequence[tuple[str, Contribution]]) -> tuple[FleetOperation, ...]:
    found: dict[tuple[str, str], FleetOperation] = {}
    for name, contribution in contributions:
        for operation in contribution.operations:
            key = (operation.name, operation.object)
            if key in found:
                raise IntegrityError(f"another planner has {operation.name} of {operation.object} too", where=name)
            found[key] = operation
    return tuple(found[key] for key in sorted(found))


def _configs(fleet: Fleet, contributions: Sequence[tuple[str, Contribution]]) -> dict[str, ApplianceConfig]:
    sections: dict[str, dict[str, DocumentModel]] = defaultdict(dict)
    probes: dict[str, list[ProbeTarget]] = defaultdict(list)
    for name, contribution in contributions:
        for appliance, added in contribution.sections.items():
            twice = sections[appliance].keys() & added.keys()
            if twice:
                raise IntegrityError(f"another planner fills {', '.join(sorted(twice))} of {appliance} too", where=name)
            sections[appliance].update(added)
        for appliance, targets in contribution.probes.items():
            probes[appliance] += targets
    stray = (sections.keys() | probes.keys()) - {appliance.id for appliance in fleet.spec.appliances}
    if stray:
        raise IntegrityError(f"a planner wrote for appliances that are not in the fleet: {', '.join(sorted(stray))}")
    return {
        appliance.id: ApplianceConfig(
            api_version=API_VERSION,
            metadata=Metadata(name=appliance.id),
            appliance=appliance.id,
            site=appliance.site,
            sections=dict(sorted(sections[appliance.id].items())),
            probes=tuple(sorted(probes[appliance.id], key=lambda target: target.id)),
        )
        for appliance in sorted(fleet.spec.appliances, key=lambda appliance: appliance.id)
    }
