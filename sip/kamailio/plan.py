"""From what runs and what is wanted to steps, and what each costs. Pure.

HOT: accounts, limits, numbers, relays, media servers, gateways and certificates are told to the proxy while it runs.
RESTART: what stands in kamailio.cfg (listeners, workers, protection, routing) is read by a start alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nf.contracts.driver import State, Step
from nf.contracts.json import Json, JsonObject
from sip.documents import Trunk
from sip.kamailio.documents import SECTION, KamailioSection
from sip.kamailio.paths import CONFIG_FILE, DISPATCHER_FILE, Paths
from sip.kamailio.render import render
from sip.kamailio.tables import tables

RUN, TELL, REMOVE, RESTORE = "kamailio.run", "kamailio.tell", "kamailio.remove", "kamailio.restore"
BUDGET_S: Final = 60.0

FILES, UNIT, KEEPER, LIVE, TABLES, PEERS, SECRETS, CALLS = (
    "files",
    "unit",
    "keeper",
    "live",
    "tables",
    "destinations",
    "secrets",
    "calls",
)
"""Keys beside the section's in what is observed: files that somebody changed, a unit or a keeper that is not as it
should be, how the process that runs differs from its files, tables that differ, a list of peers that does, secrets that
were replaced; and how many calls are up."""

_PLACES: Final = Paths(Path("/"), Path("/"), Path("/"), Path("/certificate"), Path("/stir"))


def section_of(value: JsonObject | None) -> KamailioSection | None:
    """What was observed, without what deviates; None when no section can be read."""
    known = {key: one for key, one in (value or {}).items() if key in KamailioSection.model_fields}
    try:
        return KamailioSection.model_validate(known)
    except ValueError:
        return None


def plan(have: State, want: KamailioSection | None) -> tuple[Step, ...]:
    if want is None:
        return () if have.value is None else (_remove(have.value),)
    before = section_of(have.value)
    restart = _restart_reason(have.value, before, want)
    parts = tuple(_hot_parts(have.value, before, want))
    if not restart and not parts:
        return ()
    starting = have.value is None or before is None or UNIT in have.value
    return (
        Step(
            id=SECTION,
            kind=RUN if restart else TELL,
            arguments={"section": want.to_json()},
            requires=frozenset(want.requires),
            provides=frozenset(want.provides),
            budget_s=BUDGET_S,
            undo_budget_s=BUDGET_S,
            disruption=cost(have.value, restart) if restart and not starting else "",
            summary=_summary(want, starting=starting, restart=restart, parts=parts),
        ),
    )


def _restart_reason(have: JsonObject | None, before: KamailioSection | None, want: KamailioSection) -> str:
    if have is None or before is None:
        return "it is not there"
    if UNIT in have:
        return f"it is {have[UNIT]}"
    if LIVE in have:
        return str(have[LIVE])
    if CONFIG_FILE in _list(have.get(FILES)):
        return f"{CONFIG_FILE} was changed by hand"
    return "; ".join(_changed_settings(before, want)) if _config(before) != _config(want) else ""


def _config(section: KamailioSection) -> str:
    return render(section, _PLACES)[CONFIG_FILE]


def _changed_settings(before: KamailioSection, want: KamailioSection) -> Iterator[str]:
    """Those that only a start reads, in the words of the document."""
    told = {
        "listeners": before.proxy.listeners != want.proxy.listeners or before.proxy.address != want.proxy.address,
        "workers": before.proxy.workers != want.proxy.workers,
        "virtual addresses": before.virtual != want.virtual,
        "proxy behind the same virtual address": before.peers != want.peers,
        "protection": before.protection != want.protection,
        "emergency numbers": before.emergency != want.emergency,
        "trunks of emergency calls": _emergency_trunks(before) != _emergency_trunks(want),
        "trunks, where there were none or are none any more": bool(before.trunks) != bool(want.trunks),
        "topology hiding": before.topology_hiding != want.topology_hiding,
        "nat": before.nat != want.nat,
        "stir": before.stir != want.stir,
    }
    named = [name for name, changed in told.items() if changed]
    yield f"other {', '.join(named)}" if named else "another configuration"


def _emergency_trunks(section: KamailioSection) -> list[Trunk]:
    names = section.emergency.trunks if section.emergency is not None else ()
    return [one for one in section.trunks if one.id in names]


def _hot_parts(have: JsonObject | None, before: KamailioSection | None, want: KamailioSection) -> Iterator[str]:
    """What is told, by the verb of Kamailio's RPC or by its table."""
    if have is None or before is None:
        return
    differing = {str(name) for name in _list(have.get(TABLES))}
    old, new = tables(before, ""), tables(want, "")
    differing |= {name for name, values in new.hashes.items() if old.hashes[name] != values}
    if before.accounts != want.accounts or before.accounts in _list(have.get(SECRETS)):
        differing.add("sub")
    differing |= {"plan"} if old.rows["plan"] != new.rows["plan"] else set()
    differing |= {"relays"} if old.rows["rtpengine"] != new.rows["rtpengine"] else set()
    differing |= {"settings"} if old.settings != new.settings else set()
    yield from (_TOLD.get(name, name) for name in sorted(differing))
    lists = [render(one, _PLACES)[DISPATCHER_FILE] for one in (before, want)]
    if lists[0] != lists[1] or PEERS in have or DISPATCHER_FILE in _list(have.get(FILES)):
        yield "media servers and gateways (dispatcher.reload)"
    certificates = {str(one) for one in _list(have.get(SECRETS))} - {before.accounts}
    if certificates or before.proxy.certificate != want.proxy.certificate:
        yield "certificate (tls.reload)"
    if KEEPER in have:
        yield "its keeper"
    others = {str(one) for one in _list(have.get(FILES))} - {CONFIG_FILE, DISPATCHER_FILE}
    yield from sorted(others)
    if before != want and not differing and lists[0] == lists[1]:
        yield "what it was made of"


_TOLD: Final = {
    "sub": "accounts",
    "own": "subscribers",
    "num": "numbers",
    "dom": "domains",
    "src": "trunks' permissions",
    "ctl": "limits",
    "plan": "number plan (mtree.reload)",
    "relays": "relays (rtpengine.reload)",
    "settings": "registrations (cfg.set)",
}


def _summary(want: KamailioSection, *, starting: bool, restart: str, parts: tuple[str, ...]) -> str:
    name = want.proxy.id
    if starting:
        return f"start proxy {name}"
    if restart:
        return f"restart proxy {name}: {restart}"
    return f"proxy {name}, without a restart: {', '.join(parts)}"


def cost(have: JsonObject | None, reason: str = "") -> str:
    """Of a restart, in an operator's words."""
    count = (have or {}).get(CALLS)
    calls = f"{count:,} call{'s' if count != 1 else ''}" if isinstance(count, int) else "calls"
    goes = "goes" if count == 1 else "go"
    hung = "; it does not answer now" if "does not answer" in reason else ""
    return f"restarting the proxy: {calls} {goes} on, signalling is away for ~1 s{hung}"


def _remove(have: JsonObject) -> Step:
    count = have.get(CALLS)
    calls = f"{count:,} call{'s' if count != 1 else ''}" if isinstance(count, int) else "its calls"
    return Step(
        id=SECTION,
        kind=REMOVE,
        arguments={},
        budget_s=BUDGET_S,
        undo_budget_s=BUDGET_S,
        disruption=f"removing the proxy: no signalling for {calls}, registrations are lost",
        summary="remove the proxy",
    )


def differences(have: JsonObject | None, want: KamailioSection | None) -> tuple[str, ...]:
    """In an operator's words; empty = it runs as is wanted."""
    if want is None:
        return () if have is None else ("the proxy is still there",)
    if have is None:
        return ("the proxy is not there",)
    before = section_of(have)
    lines = [f"{name} was changed by hand" for name in _list(have.get(FILES))]
    lines += [f"the proxy is {have[UNIT]}"] if UNIT in have else []
    lines += [f"the proxy: {have[LIVE]}"] if LIVE in have else []
    lines += [f"other {_TOLD.get(str(name), str(name))}" for name in _list(have.get(TABLES))]
    lines += ["other media servers or gateways are loaded"] if PEERS in have else []
    lines += [f"{one} was replaced" for one in _list(have.get(SECRETS))]
    lines += [f"the keeper is {have[KEEPER]}"] if KEEPER in have else []
    if before is None:
        lines.append("what the proxy was made of cannot be read")
    elif before != want:
        changed = [key for key in KamailioSection.model_fields if getattr(before, key) != getattr(want, key)]
        lines.append(f"the proxy has other {', '.join(changed)}")
    return tuple(lines)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
