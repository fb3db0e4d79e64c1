"""`nf subscriber import`, `export` and `seal`: files of subscribers."""

from __future__ import annotations

import csv
import io
import json as json_text
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core5g.subscribers.opening import SECRETS, JsonOption, Place, SealKeyOption, SecretsOption, opener_of, placed
from nf.contracts.noc_client import CLIENT
from nf.errors import DocumentError, InputError, RefusedError

if TYPE_CHECKING:
    from core5g.open5gs.subscribers import SubscriberDatabase
    from core5g.subscribers.importing import Progress
    from core5g.subscribers.keys import Sealer
    from core5g.subscribers.reading import Entry, File

_PAGE = 1000


class ExistingChoice(StrEnum):
    REFUSE = "refuse"
    SKIP = "skip"
    CHANGE = "change"


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"


@placed
def import_subscribers(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header line, or JSON.", show_default=False)],
    *,
    existing: Annotated[
        ExistingChoice, typer.Option("--existing", help="What becomes of lines whose subscriber is there already.")
    ] = ExistingChoice.REFUSE,
    check: Annotated[bool, typer.Option("--check", help="Judge the file by itself; write nothing.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, max=5000, help="So many at once, all or none.")] = 500,
    seal_key: SealKeyOption = "",
    place: Place,
    json: bool,
) -> None:
    """Many subscribers. Nothing is written unless every line is right; an import that was cut off goes on."""
    from core5g.subscribers import importing, reading

    core = place.core()
    data, parsed = reading.read(file)
    prepared = importing.prepare(
        data,
        parsed,
        core,
        place.scope(core),
        opener_of(seal_key, place.secrets),
        existing=existing.value,
        size=batch,
    )
    client = CLIENT.get()
    total = len(prepared.subscribers)
    if check:
        if json:
            client.print_json({"file": str(file), "subscribers": total, "problems": []})
        else:
            client.say(f"{file}: {total} subscribers of PLMN {prepared.scope}, each right by itself")
        return
    try:
        with place.open(core) as there, _progress(total) as progress:
            outcome = importing.run(prepared, there, progress)
    except KeyboardInterrupt:
        typer.echo("stopped between two batches; the same command goes on there", err=True)
        raise
    if json:
        client.print_json({"file": str(file), "subscribers": total, **outcome.to_json()})
        return
    parts = [f"{count} {name}" for name, count in outcome.to_json().items() if count]
    batches = _counted(prepared.count, "batch", "batches")
    client.say(f"{file}: {', '.join(parts) or 'no subscribers'}; {batches}, PLMN {prepared.scope}")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """A bar on a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _through: None
        return
    with typer.progressbar(length=total, label="subscribers", file=sys.stderr, show_pos=True) as bar:
        yield lambda through: bar.update(through - bar.pos)


@placed
def export_subscribers(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A new file; else stdout.", show_default=False)
    ] = None,
    *,
    form: Annotated[
        Format | None, typer.Option("--format", help="Else as the file's name ends; csv.", show_default=False)
    ] = None,
    place: Place,
    json: bool,
) -> None:
    """All subscribers of a PLMN without their keys, as `import --existing change` takes them."""
    from core5g.open5gs.subscribers_shape import data_of

    chosen = form or (Format.JSON if json or (file and file.suffix == ".json") else Format.CSV)
    with place.open() as there:
        found = [data_of(one) for one in _all(there)]
    rules = sum(bool(session.get("pcc_rules")) for one in found for session in one["sessions"])
    text = _json_text(found) if chosen is Format.JSON else _csv_text(found)
    if file is None:
        typer.echo(text, nl=False)
    else:
        _write_new(file, text)
        if json:
            CLIENT.get().print_json({"file": str(file), "subscribers": len(found)})
        else:
            CLIENT.get().say(f"{file}: {len(found)} subscribers of PLMN {there.scope}, without keys")
    if chosen is Format.CSV and rules:
        where = _counted(rules, "session", "sessions")
        typer.echo(f"note: {where} with PCC rules, for which a table has no columns: --format json", err=True)


def _all(there: SubscriberDatabase) -> Iterator[dict[str, Any]]:
    after = ""
    while page := there.page(_PAGE, after=after):
        yield from page
        after = str(page[-1]["imsi"])


def _json_text(found: list[dict[str, Any]]) -> str:
    return json_text.dumps({"subscribers": found}, indent=1, ensure_ascii=False) + "\n"


def _csv_text(found: list[dict[str, Any]]) -> str:
    from core5g.subscribers import columns

    rows = [columns.cells_of(one) for one in found]
    names = columns.header(rows) or ("imsi",)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _write_new(path: Path, text: str) -> None:
    """Mode 0600. Raises RefusedError when it is there, InputError when it cannot be written."""
    from nf.errors import StorageError
    from nf.trust.files import write_private

    if path.exists():
        raise RefusedError("exists already", where=str(path), remedy="name a new file")
    if not path.absolute().parent.is_dir():
        raise InputError("no such directory", where=str(path.parent), remedy="check the path, or make it first")
    try:
        write_private(path, text.encode())
    except StorageError as error:
        raise InputError(error.message, where=str(path), remedy=error.remedy) from None


def seal(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON with keys in clear.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new file with sealed keys.", show_default=False)],
    *,
    seal_key: SealKeyOption = "",
    secrets: SecretsOption = SECRETS,
    json: JsonOption = False,
) -> None:
    """Seal the keys in a file, so that it can be kept. Bound to their IMSIs; `import` takes it with the same secret."""
    from core5g.subscribers import reading
    from core5g.subscribers.keys import Sealer

    opener = opener_of(seal_key or "secret:sim-seal", secrets)
    if not isinstance(opener, Sealer):
        raise InputError("which secret seals?", where="--seal-key", remedy="add --seal-key secret:NAME")
    _, parsed = reading.read(file)
    sealed, problems = _sealed(parsed, opener)
    problems = [*parsed.problems, *problems]
    if problems:
        from core5g.subscribers.rules import bounded

        raise DocumentError(bounded(problems), where=str(file))
    text = _sealed_csv(parsed, sealed) if parsed.header else _sealed_json(parsed, sealed)
    _write_new(out, text)
    if json:
        CLIENT.get().print_json({"file": str(out), "subscribers": len(sealed), "key": opener.name})
    else:
        CLIENT.get().say(f"{out}: the keys of {len(sealed)} subscribers, sealed with the key {opener.name}")
        CLIENT.get().say(f"{file} still has them in clear: shred it when the other one is safe")


def _sealed(parsed: File, sealer: Sealer) -> tuple[list[dict[str, str]], list[Any]]:
    """The `security` of each entry, sealed; and what is wrong with any."""
    from core5g.subscribers.keys import PREFIX, SECRET, check
    from core5g.subscribers.rules import problem

    sealed: list[dict[str, str]] = []
    problems: list[Any] = []
    for entry in parsed.entries:
        _, found = check(entry.security, entry.imsi, sealer)
        problems += [problem(parsed.name, entry, ("security", one.name), one.rule, one.remedy) for one in found]
        if not entry.imsi:
            problems.append(problem(parsed.name, entry, ("imsi",), "the IMSI is missing", "a seal is bound to it"))
        values: dict[str, str] = {name: str(value).strip() for name, value in entry.security.items()}
        if not found:
            for name in SECRET:
                if name in values and not values[name].startswith(PREFIX):
                    values[name] = sealer.seal(_digits(values[name]), entry.imsi, name)
        sealed.append(values)
    return sealed, problems


def _digits(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter in "0123456789abcdef")


def _sealed_csv(parsed: File, sealed: list[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, parsed.header, restval="", delimiter=parsed.delimiter, lineterminator="\n")
    writer.writeheader()
    for entry, values in zip(parsed.entries, sealed, strict=True):
        writer.writerow({**(entry.cells or {}), **values})
    return buffer.getvalue()


def _sealed_json(parsed: File, sealed: list[dict[str, str]]) -> str:
    return _json_text([_with_security(entry, values) for entry, values in zip(parsed.entries, sealed, strict=True)])


def _with_security(entry: Entry, values: dict[str, str]) -> dict[str, Any]:
    return {**entry.data, **({"security": values} if values else {})}
