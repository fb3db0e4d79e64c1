"""`nf subscriber`: who may use the 5G core, and what of it. Keys come from files or a prompt and are never shown."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core5g.subscribers import bulk
from core5g.subscribers.opening import Place, SealKeyOption, opener_of, placed
from core5g.subscribers.showing import shown
from nf.contracts.noc_client import CLIENT
from nf.errors import DocumentError, InputError

if TYPE_CHECKING:
    from core5g.documents import Core5g
    from core5g.open5gs.subscribers import SubscriberDatabase
    from core5g.subscribers.rules import Judged

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Subscribers of the 5G core: look, add, change, import, export."
)
app.command("import")(bulk.import_subscribers)
app.command("export")(bulk.export_subscribers)
app.command("seal")(bulk.seal)


def settable(incomplete: str) -> list[str]:
    """Completion."""
    from core5g.subscribers import columns

    names = [name for name in columns.known() if name not in (*columns.SECURITY, "imsi")]
    return [f"{name}=" for name in names if name.startswith(incomplete)]


ImsiArgument = Annotated[str, typer.Argument(metavar="IMSI", show_default=False)]
ColumnsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[COLUMN=VALUE]...",
        help="Such as ipv4=10.45.0.9 or 2.dnn=ims.",
        autocompletion=settable,
        show_default=False,
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        help='{"k": ..., "opc" or "op": ...}, clear or sealed; - is stdin.',
        show_default=False,
    ),
]


# ---- looking ----


@app.command("list")
@placed
def list_subscribers(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="So many on a page.")] = 50,
    after: Annotated[
        str, typer.Option("--after", metavar="IMSI", help="The page behind this one.", show_default=False)
    ] = "",
    dnn: Annotated[str, typer.Option("--dnn", help="Who may use this DNN.", show_default=False)] = "",
    barred: Annotated[bool, typer.Option("--barred", help="Who is barred.")] = False,
    place: Place,
    json: bool,
) -> None:
    """The subscribers of a PLMN in the order of their IMSIs, page by page."""
    from core5g.open5gs.subscribers_shape import data_of

    client = CLIENT.get()
    matching: dict[str, Any] = {"slice.session.name": dnn} if dnn else {}
    matching |= {"subscriber_status": {"$gt": 0}} if barred else {}
    with place.open() as there:
        found = [data_of(one) for one in there.page(limit + 1, after=after, matching=matching)]
        total = there.count(matching)
    page, more = found[:limit], len(found) > limit
    following = page[-1]["imsi"] if more else None
    if json:
        client.print_json({"plmn": str(there.scope), "total": total, "subscribers": [*page], "next": following})
        return
    client.print_table(
        ("IMSI", "MSISDN", "STATUS", "DNNS", "SLICES", "STATIC"),
        tuple(_row(one) for one in page),
    )
    client.say(
        f"{len(page)} of {total} subscribers of PLMN {there.scope}" + (f"; next: --after {following}" if more else "")
    )


def _row(data: dict[str, Any]) -> tuple[str, ...]:
    sessions = data["sessions"]
    static = [str(session[name]) for session in sessions for name in ("ipv4", "ipv6") if name in session]
    return (
        data["imsi"],
        ", ".join(data.get("msisdn", [])) or "-",
        str(data.get("status", "-")),
        ", ".join(dict.fromkeys(str(one["dnn"]) for one in sessions)) or "-",
        ", ".join(dict.fromkeys(str(one["slice"]) for one in sessions)) or "-",
        ", ".join(static) or "-",
    )


@app.command()
@placed
def show(
    imsi: ImsiArgument,
    *,
    place: Place,
    json: bool,
) -> None:
    """Everything of a subscriber but its keys."""
    from core5g.open5gs.subscribers_shape import data_of
    from core5g.subscribers import columns

    client = CLIENT.get()
    with place.open() as there:
        data = data_of(there.get(imsi))
    if json:
        client.print_json(data)
        return
    client.print_table(("COLUMN", "VALUE"), tuple(columns.cells_of(data).items()))
    for session in data["sessions"]:
        for rule in session.get("pcc_rules", []):
            flows = "; ".join(f"{flow.get('direction')} {flow['description']}" for flow in rule["flows"])
            client.say(f"{session['dnn']}: 5QI {rule.get('5qi')}, priority {rule.get('arp')}: {flows}")


# ---- changing ----


@app.command()
@placed
def add(
    imsi: ImsiArgument,
    cells: ColumnsArgument = None,
    *,
    keys: KeysOption = None,
    seal_key: SealKeyOption = "",
    place: Place,
    json: bool,
) -> None:
    """A new subscriber. What is not said: the core's first DNN and slice, 5QI 9, 1 Gbit/s."""
    from core5g.open5gs.subscribers_shape import data_of, new_document
    from core5g.subscribers import columns

    given = _cells(cells or [], "subscriber add")
    core = place.core()
    security = _read_keys(keys)
    with place.open(core) as there:
        data = columns.fill({"imsi": imsi}, given)
        judged = _judged(data, security, core, there, opener=(seal_key, place.secrets))
        if judged.keys is None:
            raise InputError("a new subscriber has keys", where=imsi, remedy="add --keys FILE with k, and opc or op")
        with _writing(judged, there):
            there.add(judged.subscriber, judged.keys)
        made = data_of(new_document(judged.subscriber, judged.keys))
    _tell(made, f"{imsi} is there", json=json)


@app.command("set")
@placed
def set_columns(
    imsi: ImsiArgument,
    cells: ColumnsArgument = None,
    *,
    keys: KeysOption = None,
    seal_key: SealKeyOption = "",
    place: Place,
    json: bool,
) -> None:
    """Change a subscriber; the rest stays, its sequence number always. `COLUMN=` takes something away."""
    from core5g.open5gs.subscribers_shape import data_of
    from core5g.subscribers import columns

    given = _cells(cells or [], "subscriber set")
    if "sqn" in given:
        raise InputError("the sequence number belongs to SIM and network", where="sqn", remedy="leave it as it is")
    if not given and keys is None:
        raise InputError("nothing to change", where="subscriber set", remedy="add COLUMN=VALUE or --keys FILE")
    core = place.core()
    security = {} if keys is None else _read_keys(keys)
    with place.open(core) as there:
        before = data_of(there.get(imsi))
        judged = _judged(columns.fill(before, given), security, core, there, opener=(seal_key, place.secrets))
        with _writing(judged, there):
            changed = there.change(judged.subscriber, judged.keys)
        now = data_of(there.get(imsi))
    text = f"changed: {', '.join(_columns(before, now, changed))}" if changed else "it is so already"
    _tell({**now, "changed": _plain(changed)}, f"{imsi}: {text}", json=json)
    if changed and not json:
        CLIENT.get().say("it holds from the next registration and the next sessions on")


def _plain(changed: tuple[str, ...]) -> list[Any]:
    """Names of what Open5GS keeps; of keys, only that they are others."""
    return sorted({"keys" if name.startswith("security.") else name for name in changed})


def _columns(before: dict[str, Any], now: dict[str, Any], changed: tuple[str, ...]) -> list[str]:
    """The same in the words of the command line."""
    from core5g.subscribers import columns

    old, new = columns.cells_of(before), columns.cells_of(now)
    found = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return found + ["keys"] * any(name.startswith("security.") for name in changed) or _plain(changed)


@app.command()
@placed
def remove(
    imsis: Annotated[list[str], typer.Argument(metavar="IMSI...", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    place: Place,
    json: bool,
) -> None:
    """Remove subscribers with their keys. Sessions that stand go on until the UE registers anew."""
    from core5g.open5gs.subscribers_batches import Batches

    with place.open() as there:
        for imsi in imsis:
            there.get(imsi)  # all are there, and all may be touched, before the first is gone
        if not yes:
            if not sys.stdin.isatty():
                raise InputError("removing asks first", where="subscriber remove", remedy="add --yes")
            typer.confirm(f"remove {len(imsis)} of PLMN {there.scope}, with their keys?", abort=True, err=True)
        with Batches(there).writing():
            removed = there.remove(imsis)
    if json:
        CLIENT.get().print_json({"removed": removed})
    else:
        CLIENT.get().say(f"{removed} removed; sessions that stand go on until the UE registers anew")


def _tell(data: dict[str, Any], text: str, *, json: bool) -> None:
    client = CLIENT.get()
    if json:
        client.print_json(data)
    else:
        client.say(text)


def _cells(given: list[str], command: str) -> dict[str, str]:
    """Raises InputError, which quotes no value."""
    from core5g.subscribers import columns

    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise InputError("a change is COLUMN=VALUE", where=command, remedy="write it as ipv4=10.45.0.9")
        if name in columns.SECURITY:
            raise InputError(
                "a key does not belong on a command line, where history and process list keep it",
                where=name,
                remedy="put it into a file of mode 0600 and add --keys FILE, and take this SIM for compromised",
            )
        if columns.place_of(name) is None or name == "imsi":
            raise InputError("no such column", where=shown(name), remedy=columns.suggestion(name[:40]))
        found[name] = value
    return found


def _read_keys(path: Path | None) -> dict[str, Any]:
    """Raises InputError, which quotes nothing."""
    from core5g.subscribers import columns
    from nf.trust.files import read_private

    if path is None:
        if not sys.stdin.isatty():
            raise InputError(
                "the keys of the SIM are missing", where="--keys", remedy="add --keys FILE, or - for stdin"
            )
        k = typer.prompt("K", hide_input=True, err=True)
        return {"k": k, "opc": typer.prompt("OPc", hide_input=True, err=True)}
    text = sys.stdin.buffer.read(4096) if str(path) == "-" else read_private(path, "the file of the keys")
    try:
        found = json_text.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found or found.keys() - set(columns.SECURITY):
        raise InputError("not the keys of a SIM", where=str(path), remedy='write {"k": "...", "opc": "..."}')
    return found


def _judged(
    data: dict[str, Any], security: dict[str, Any], core: Core5g, there: SubscriberDatabase, opener: tuple[str, Path]
) -> Judged:
    """Raises DocumentError with everything that is wrong."""
    from core5g.subscribers.reading import Entry, Typed
    from core5g.subscribers.rules import judge_entry

    there.scope.require(str(data["imsi"]))
    judged, problems = judge_entry("", Entry(0, data, security, Typed()), core, there.scope, opener_of(*opener))
    if judged is None:
        raise DocumentError(problems, where=str(data["imsi"])[:20])
    return judged


@contextmanager
def _writing(judged: Judged, there: SubscriberDatabase) -> Iterator[None]:
    """The lease, under which no static address is given away twice. Raises DocumentError."""
    from core5g.open5gs.subscribers_batches import Batches
    from core5g.subscribers.importing import taken_addresses

    with Batches(there).writing():
        taken = taken_addresses("", [judged], there)
        if taken:
            raise DocumentError(taken, where=judged.imsi)
        yield
