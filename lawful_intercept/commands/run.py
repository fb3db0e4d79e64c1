"""`nf-li run`: the processes of lawful intercept. Each gives up first what could show what it knows."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)

_Config = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="Its configuration (YAML).", show_default=False)
]


@app.command("admf")
def admf(*, config: _Config) -> None:
    """The administration: officers, warrants, X1 to every element."""
    _run("administration", "AdministrationSettings", config)


@app.command("mdf")
def mdf(*, config: _Config) -> None:
    """Mediation: X2 and X3 in, HI2 and HI3 to agencies."""
    _run("mediation", "MediationSettings", config)


@app.command("points")
def points(*, config: _Config) -> None:
    """An appliance's points of interception."""
    _run("points", "PointsSettings", config)


@app.command("lemf")
def lemf(*, config: _Config) -> None:
    """The agency's side: a test receiver."""
    _run("lemf", "LemfSettings", config)


def _run(room: str, model: str, config: Path) -> None:
    """Until SIGTERM or SIGINT. Raises NfError for what is wrong with its configuration, files or store."""
    import asyncio
    import contextlib
    import signal

    from lawful_intercept import configuration, isolation
    from nf.clock import RealClock
    from nf.errors import NotFoundError

    try:
        kind = getattr(import_module(f"lawful_intercept.{room}.settings"), model)
        process = import_module(f"lawful_intercept.{room}.process")
    except ModuleNotFoundError:
        raise NotFoundError("this process is not installed", where=f"nf-li run {room}") from None
    settings = configuration.load(config, kind)
    isolation.unseen(settings.user, told=_told)

    async def serve() -> None:
        task = asyncio.current_task()
        if task is not None:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await process.run(settings, RealClock())

    with contextlib.suppress(asyncio.CancelledError):
        isolation.run(serve)


def _told(text: str) -> None:
    """What nobody foresaw, by class and place, which name no target."""
    import sys

    sys.stderr.write(f"{text}\n")
