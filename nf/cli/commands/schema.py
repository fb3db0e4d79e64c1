"""`nf schema`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nf.cli.options import JsonOption
from nf.errors import InputError, NotFoundError


def _kinds(incomplete: str) -> list[str]:
    from nf.documents.schema import schemas

    return [kind for kind in sorted(schemas()) if kind.lower().startswith(incomplete.lower())]


app = typer.Typer(add_completion=False)


@app.command()
def show(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help="LineUp, Fleet, ...", autocompletion=_kinds, show_default=False),
    ] = None,
    *,
    write: Annotated[
        Path | None,
        typer.Option(
            "--write",
            metavar="DIR",
            help="Write each into DIR, under the name that the editor hints use.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """JSON Schema of the documents, for editors, as JSON in any case. Without KIND: all, by kind."""
    from nf.cli.output import print_json, say
    from nf.documents.schema import file_name, schema_text, schemas

    found = schemas()
    if kind is not None:
        name = next((known for known in found if known.lower() == kind.lower()), None)
        if name is None:
            raise NotFoundError("no such kind of document", where=kind, remedy=f"one of {', '.join(sorted(found))}")
        found = {name: found[name]}
    if write is None:
        print_json(found if kind is None else next(iter(found.values())))
        return
    paths: list[str] = []
    try:
        write.mkdir(parents=True, exist_ok=True)
        for name, schema in found.items():
            path = write / file_name(name)
            path.write_text(schema_text(schema))
            paths.append(str(path))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(write)) from error
    if json:
        print_json(paths)
    else:
        say("\n".join(paths))
