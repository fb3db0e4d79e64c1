"""`nf-li audit`: who did what, in a chain that shows whether anybody changed it, or the store, afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawful_intercept.commands.client import JsonOption, ask, read_file, talk, write_new
from nf.errors import InputError

if TYPE_CHECKING:
    from lawful_intercept.administration.client import Client

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=5000, help="How many, newest first.")] = 50,
    before: Annotated[int, typer.Option("--before", metavar="NUMBER", help="Only older ones.")] = 0,
    json: JsonOption = False,
) -> None:
    """The newest records."""
    from lawful_intercept.administration.records import moment_of, spelled
    from lawful_intercept.commands.output import brief, out, print_json, table, word

    answer = ask("audit.list", {"limit": limit, "before": before})
    if json:
        print_json(answer)
        return
    grid = table("NUMBER", "AT", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "HASH", right=("NUMBER",))
    for one in answer:
        actor = "/".join(one["actor"].split("/")[-2:])
        at = brief(spelled(moment_of(one["at_us"] / 1e6)))
        grid.add_row(
            str(one["number"]), at, actor, one["action"], one["object"], word(one["outcome"]), one["hash"][:12]
        )
    out().print(grid)


@app.command("verify")
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A copy of the ADMF's store, or an export. Without: asks the ADMF."),
    ] = None,
    *,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The ADMF's audit.pub (else beside FILE).", show_default=False),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option("--heads", metavar="FILE", help="Heads that were exported before must hold.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check every record, every entry of a store, and the head's signature; exit code 9 when one is wrong."""
    from lawful_intercept.administration.audit import broken, public_key, read_heads, verify_file
    from lawful_intercept.administration.chain import Verdict
    from lawful_intercept.commands.output import print_json, say

    if file is None:
        answer = ask("audit.verify")
        verdict = Verdict(answer["records"], answer["head"], answer["record"], answer["detail"])
    else:
        public = key or file.with_name("audit.pub")
        if not public.exists():
            raise InputError("which key signed it?", where=str(file), remedy="--key FILE, the ADMF's audit.pub")
        earlier = read_heads(heads) if heads is not None else ()
        verdict = verify_file(file, public_key(read_file(public), str(public)), earlier)
    if json:
        print_json(verdict.json())
    if not verdict.intact:
        raise broken(verdict, str(file or "audit"))
    if not json:
        say(f"intact: {verdict.records} records, head {verdict.head}")


@app.command("export")
def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file: a line of JSON for each record, head last.")
    ],
) -> None:
    """Every record and the signed head, to verify elsewhere: nf-li audit verify FILE --key audit.pub"""
    import json

    from lawful_intercept.administration.audit import FORMAT
    from lawful_intercept.commands.output import say

    async def fetch(admf: Client) -> list[str]:
        lines = [json.dumps({"format": FORMAT})]
        page = await admf.call("audit.export")
        head = page["head"]
        while page["records"]:
            lines += [json.dumps(record, ensure_ascii=False) for record in page["records"]]
            after = page["records"][-1]["number"]
            page = await admf.call("audit.export", {"after": after, "until": head["head"]})
        return [*lines, json.dumps(head)]

    lines = talk(fetch)
    write_new(file, ("\n".join(lines) + "\n").encode())
    say(f"{len(lines) - 2} records in {file}")
