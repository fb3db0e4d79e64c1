"""The driver of section `cdn-edge`: Traffic Server in front of the shields.

Facts: each channel provides what its entry says while the loaded remap table has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from nf.contracts.driver import Context, Drift, DriverContext, Event, Operation, Ownership, State, Step, Undo
from nf.contracts.json import Json, JsonObject
from nf.contracts.units import UnitState
from nf.documents.model import DocumentModel
from nf.errors import DriverError, InputError
from nf.media.documents import EdgeSection
from nf.media.edge.access_log import ACCESS_LOG, AccessLog
from nf.media.edge.check import check_candidate
from nf.media.edge.index import follow
from nf.media.edge.purge import EdgePurge, EdgeRules
from nf.media.edge.render import altered, generation, render, section_of
from nf.media.edge.rules import Rules
from nf.media.edge.server import UNIT, Server
from nf.media.edge.telemetry import EVENTS_S, EdgeWatch
from nf.media.purge.message import PURGE, PURGE_RULES

CONFIGURE, REMOVE, RESTORE = "edge.configure", "edge.remove", "edge.restore"
BUDGET_S = 40.0
_POLL_S = 0.2


class EdgeDriver:
    name = "cdn-edge"
    section = "cdn-edge"

    def __init__(self, context: DriverContext) -> None:
        self._appliance = context.appliance
        self._clock = context.clock
        self._server = Server(context.run_dir, context.state_dir, context.units, context.clock)
        places = self._server.places
        self.owns = Ownership(paths=frozenset({places.root, places.cache}), units=frozenset({UNIT}))
        rules = Rules(self._server, context.clock)
        self.operations: Mapping[str, Operation] = {
            PURGE: EdgePurge(self._server, rules, self._server.index),
            PURGE_RULES: EdgeRules(rules),
        }

    # -- reading ----------------------------------------------------------------------------------------------------

    async def observe(self) -> State:
        """Beside the section: `altered` files, the `unit` that is not ready, the generation that is `live` instead."""
        files = self._server.read_files()
        status = await self._server.status()
        if not files and status is None:
            return State(None)
        section = section_of(files)
        value: JsonObject = section.to_json() if section is not None else {}
        told: dict[str, Json] = {}
        if section is None:
            told["altered"] = ["remap.config"]
        else:
            told["altered"] = [*altered(files, section, self._server.places)]
            live = await self._server.live_generation(section)
            told["live"] = "" if live == generation(section) else live or "none"
        ready = status is not None and status.state is UnitState.READY
        told["unit"] = "" if ready else status.state.value if status is not None else "absent"
        deviations = {key: found for key, found in told.items() if found}
        holds = section is not None and not deviations
        facts = {fact for channel in section.channels for fact in channel.provides} if section and holds else set()
        return State({**value, **deviations}, frozenset(facts))

    # -- planning ---------------------------------------------------------------------------------------------------

    def plan(self, have: State, want: DocumentModel | None) -> tuple[Step, ...]:
        section = _section(want)
        if section is None:
            return () if have.value is None else (_remove_step(),)
        target = section.to_json()
        if have.value == target:
            return ()
        # Where no section can be read, as after a boot, there is no player behind it that could stall.
        standing = have.value or {}
        restarted = any(key in standing and standing[key] != target[key] for key in ("listen", "port"))
        return (
            Step(
                id="edge.configure",
                kind=CONFIGURE,
                arguments={"section": target},
                requires=frozenset(section.requires).union(*(channel.requires for channel in section.channels)),
                provides=frozenset(fact for channel in section.channels for fact in channel.provides),
                budget_s=BUDGET_S,
                undo_budget_s=BUDGET_S,
                disruption="the edge cache restarts: every player behind it stalls" if restarted else "",
                summary=f"edge cache: {', '.join(sorted({c.channel for c in section.channels})) or 'no channel'}",
            ),
        )

    async def check(self, steps: Sequence[Step], want: DocumentModel | None) -> None:
        section = _section(want)
        if section is None or not steps:
            return
        self._server.check_place()
        await check_candidate(section)

    # -- changing ---------------------------------------------------------------------------------------------------

    async def prepare(self, step: Step) -> Undo:  # noqa: ARG002 - the same for every step
        files: JsonObject = dict(self._server.read_files())
        status = await self._server.status()
        return Undo(RESTORE, {"files": files, "unit": status is not None})

    async def apply(self, step: Step, context: Context) -> None:
        """Raises DriverError when Traffic Server does not take it, InputError for a step of another version."""
        if (step.kind, step.version) == (CONFIGURE, 1):
            section = EdgeSection.model_validate(step.arguments["section"])
            await self._server.activate(render(section, self._server.places), _time(context))
        elif (step.kind, step.version) == (REMOVE, 1):
            await self._remove()
        else:
            raise InputError(f"unknown step {step.kind} version {step.version}", where=self.name)

    async def undo(self, undo: Undo, context: Context) -> None:
        files = undo.data.get("files")
        if undo.kind != RESTORE or not isinstance(files, dict):
            raise InputError(f"unknown undo {undo.kind}", where=self.name)
        if not files and not undo.data.get("unit"):
            await self._remove()
            return
        texts = {name: str(text) for name, text in files.items()}
        if undo.data.get("unit") and section_of(texts) is not None:
            await self._server.activate(texts, _time(context))
        else:
            self._server.write_files(texts)

    async def _remove(self) -> None:
        await self._server.remove()
        self._server.remove_directories()

    async def verify(self, want: DocumentModel | None, context: Context) -> Drift:
        while True:
            drift = Drift(differences((await self.observe()).value, _section(want)))
            if not drift or context.remaining() <= 0 or context.cancel.is_set():
                return drift
            await context.clock.sleep(min(_POLL_S, context.remaining()))

    # -- events -----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Event]:
        """Samples of the point `edge` for each channel; alarm `edge-silent` while Traffic Server does not answer."""
        log = AccessLog(self._server.places.logs / ACCESS_LOG)
        watch = EdgeWatch(self._appliance, self._clock, log)
        try:
            while True:
                try:
                    section = section_of(self._server.read_files())
                except DriverError:
                    section = None  # observe says so
                await follow(self._server.index, self._clock.now())
                for event in await watch.take(section):
                    yield event
                await self._clock.sleep(EVENTS_S)
        finally:
            log.close()


def create(context: DriverContext) -> EdgeDriver:
    """Entry point of the group `nf.drivers`."""
    return EdgeDriver(context)


def differences(have: JsonObject | None, want: EdgeSection | None) -> tuple[str, ...]:
    """In an operator's words."""
    if want is None:
        return () if have is None else ("the edge cache is still there",)
    target = want.to_json()
    if have == target:
        return ()
    if have is None:
        return ("the edge cache is not there",)
    told = [
        f"{key} is {have.get(key)}, not {target[key]}" for key in ("listen", "port") if have.get(key) != target[key]
    ]
    told += ["other shields"] if have.get("shields") != target["shields"] else []
    told += ["other channels"] if have.get("channels") != target["channels"] else []
    told += [f"{file} was changed by hand" for file in _list(have.get("altered"))]
    told += [f"Traffic Server is {have['unit']}"] if "unit" in have else []
    told += [f"the loaded remap table is another one ({have['live']})"] if "live" in have else []
    return tuple(told) or ("other ordering facts",)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _time(context: Context) -> float:
    return max(1.0, min(BUDGET_S - 5.0, context.remaining() - 1.0))


def _remove_step() -> Step:
    return Step(
        id="edge.remove",
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption="the edge cache stops: every player behind it loses its programme",
        summary="remove the edge cache",
    )


def _section(want: DocumentModel | None) -> EdgeSection | None:
    if want is not None and not isinstance(want, EdgeSection):
        raise InputError(f"not a cdn-edge section: {type(want).__name__}", where="cdn-edge")
    return want
