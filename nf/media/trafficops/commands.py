"""`nf trafficops`: what Apache Traffic Control knows into the fleet document, and purges and states into it."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nf.contracts.json import Json
from nf.contracts.noc_client import CLIENT
from nf.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from nf.media.trafficops.client import TrafficOps

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Apache Traffic Control: fleet import, invalidation, server status.",
)

_STATUSES: Final = ("ONLINE", "OFFLINE", "REPORTED", "ADMIN_DOWN")

Url = Annotated[
    str, typer.Option("--url", metavar="URL", envvar="NF_TRAFFICOPS_URL", help="https://HOST of Traffic Ops.")
]
User = Annotated[str, typer.Option("--user", envvar="NF_TRAFFICOPS_USER", help="Its user.")]
PasswordFile = Annotated[
    Path, typer.Option("--password-file", envvar="NF_TRAFFICOPS_PASSWORD_FILE", help="A file of mode 0600.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca", help="Certificates (PEM) by which it is known.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")]


def _open(url: str, user: str, password_file: Path, ca: Path | None) -> TrafficOps:
    """Raises InputError, NotFoundError, IntegrityError (the file's mode)."""
    from nf.media.trafficops.client import Account, TrafficOps
    from nf.trust.files import read_private

    password = read_private(password_file, "the password of Traffic Ops").decode(errors="replace").rstrip("\n")
    return TrafficOps(Account(url, user, password, ca))


def statuses(incomplete: str) -> list[str]:
    """Completion."""
    return [status for status in _STATUSES if status.startswith(incomplete.upper())]


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word.upper() not in words:
            raise InputError("no such word", where=word, remedy=f"one of: {', '.join(words)}")
        return word.upper()

    return check


@app.command("import")
def import_fleet(
    *,
    fleet: Annotated[Path, typer.Option("--fleet", metavar="FILE", help="The fleet document.")],
    url: Url,
    user: User,
    password_file: PasswordFile,
    ca: CaFile = None,
    cdn: Annotated[str, typer.Option("--cdn", help="Servers of this CDN only.")] = "",
    topology: Annotated[str, typer.Option("--topology", help="Check its parents against the fleet's.")] = "",
    write: Annotated[
        bool, typer.Option("--write", help="Write the document; without, only show what would change.")
    ] = (False),
    json: JsonOption = False,
) -> None:
    """Cache groups and servers that the fleet document lacks, as a difference; --write puts them in."""
    from nf.media.trafficops.fleet import Found, import_into

    try:
        text = fleet.read_text()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(fleet), remedy="name the fleet document"
        ) from None
    with _open(url, user, password_file, ca) as ops:
        servers = tuple(server for server in ops.servers() if cdn in {"", server.cdn})
        known = {one.name: one for one in ops.topologies()} if topology else {}
        found = Found(ops.cache_groups(), servers, known.get(topology))
    if topology and topology not in known:
        raise NotFoundError(
            "no such topology", where=topology, remedy=f"there is: {', '.join(sorted(known)) or 'none'}"
        )
    made = import_into(text, found, file=str(fleet))
    lines = difflib.unified_diff(
        text.splitlines(), made.text.splitlines(), str(fleet), f"{fleet} (Traffic Ops)", lineterm=""
    )
    difference = "\n".join(lines)
    if write and difference:
        fleet.write_text(made.text)
    client = CLIENT.get()
    if json:
        added: Json = {kind: [*names] for kind, names in made.added.items()}
        client.print_json(
            {"added": added, "warnings": [*made.warnings], "diff": difference, "written": write and bool(difference)}
        )
        return
    client.say(difference or f"{fleet} has all of it already")
    for warning in made.warnings:
        client.say(f"note: {warning}")
    if difference:
        client.say(f"{fleet} is written: see `nf lineup plan`" if write else "nothing is written: add --write")


@app.command()
def status(*, url: Url, user: User, password_file: PasswordFile, ca: CaFile = None, json: JsonOption = False) -> None:
    """Its servers, and what it holds of each: ONLINE, OFFLINE, REPORTED or ADMIN_DOWN."""
    with _open(url, user, password_file, ca) as ops:
        servers = sorted(ops.servers(), key=lambda one: (one.cache_group, one.host))
    client = CLIENT.get()
    if json:
        names = ("host", "cache_group", "type", "status", "offline_reason")
        client.print_json([{name: str(getattr(one, name)) for name in names} for one in servers])
        return
    rows = tuple((one.host, one.cache_group, one.type, one.status, one.offline_reason) for one in servers)
    client.print_table(("SERVER", "CACHE GROUP", "TYPE", "STATUS", "REASON"), rows)


@app.command()
def report(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its short host name.", show_default=False)],
    state: Annotated[
        str, typer.Argument(metavar="STATUS", help=", ".join(_STATUSES), autocompletion=statuses, show_default=False)
    ],
    *,
    url: Url,
    user: User,
    password_file: PasswordFile,
    ca: CaFile = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; needed to take it out.")] = "",
    json: JsonOption = False,
) -> None:
    """Tell Traffic Ops the state of a server; its children are told by Traffic Ops."""
    from nf.media.trafficops.model import Status

    wanted = Status(_one_of(_STATUSES)(state))
    if wanted in {Status.OFFLINE, Status.ADMIN_DOWN} and not reason:
        raise InputError("a server is taken out for a reason", where=server, remedy="add --reason WHY")
    with _open(url, user, password_file, ca) as ops:
        found = [one for one in ops.servers() if one.host == server]
        if len(found) != 1:
            rule = "no such server" if not found else "several servers have this name"
            raise NotFoundError(rule, where=server, remedy="see `nf trafficops status`")
        told = ops.set_status(found[0].id, wanted, reason)
    client = CLIENT.get()
    if json:
        client.print_json({"server": server, "before": found[0].status, "status": wanted.value, "text": told})
    else:
        client.say(told or f"{server} is {wanted.value}, it was {found[0].status}")


@app.command()
def purge(
    target: Annotated[str, typer.Argument(metavar="CHANNEL|URL", help="As for `nf purge`.", show_default=False)],
    *,
    delivery_service: Annotated[str, typer.Option("--delivery-service", metavar="XML-ID", help="Whose caches.")],
    url: Url,
    user: User,
    password_file: PasswordFile,
    ca: CaFile = None,
    mode: Annotated[str, typer.Option("--mode", help="refresh: ask again with a condition; refetch: as a miss.")] = (
        "refresh"
    ),
    ttl_hours: Annotated[int, typer.Option("--ttl", metavar="HOURS", min=1, max=8760, help="So long it counts.")] = 24,
    json: JsonOption = False,
) -> None:
    """A content invalidation job for the caches that Traffic Control keeps. It gives no proof: `nf purge` does."""
    from nf.documents.model import RuleError
    from nf.media.purge.urls import Url, parse_url
    from nf.media.trafficops.model import Invalidation
    from nf.media.trafficops.orders import order_of

    invalidation = Invalidation(_one_of(("REFRESH", "REFETCH"))(mode))
    try:
        named = parse_url(target, below=True) if "://" in target else Url("", target, "")
    except RuleError as error:
        raise InputError(str(error), where=target, remedy=error.remedy) from None
    order = order_of(named, delivery_service, invalidation, ttl_hours, time.time())
    with _open(url, user, password_file, ca) as ops:
        job = ops.invalidate(order)
    client = CLIENT.get()
    if json:
        client.print_json(
            {
                "id": job.id,
                "asset_url": job.asset_url,
                "type": job.invalidation,
                "start": job.start,
                "ttl_h": job.ttl_hours,
            }
        )
    else:
        client.say(f"job {job.id}: {job.invalidation} of {job.asset_url} from {job.start}, for {job.ttl_hours} h")


@app.command()
def jobs(
    delivery_service: Annotated[str, typer.Argument(metavar="XML-ID", show_default=False)],
    *,
    url: Url,
    user: User,
    password_file: PasswordFile,
    ca: CaFile = None,
    remove: Annotated[int, typer.Option("--remove", metavar="ID", help="Take this job out.")] = 0,
    json: JsonOption = False,
) -> None:
    """The invalidation jobs of a delivery service; --remove takes one out, which Traffic Control never does itself."""
    with _open(url, user, password_file, ca) as ops:
        found = [ops.remove_job(remove)] if remove else list(ops.jobs(delivery_service))
    client = CLIENT.get()
    if json:
        client.print_json(
            [{"id": one.id, "asset_url": one.asset_url, "type": one.invalidation, "start": one.start} for one in found]
        )
        return
    rows = tuple((str(one.id), one.invalidation, one.asset_url, one.start, f"{one.ttl_hours} h") for one in found)
    client.print_table(("REMOVED" if remove else "JOB", "TYPE", "URL", "START", "TTL"), rows)
