"""`nf steer` as a person calls it, on a live NOC whose UPFs are dictionaries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer

from core5g.steering import commands
from nf.cli.main import main
from nf.cli.operations import FleetClient
from nf.cli.profile import given
from nf.contracts.noc_client import CLIENT
from nf.errors import DriverError, InputError, NotFoundError
from tests.core5g.steering.mobile_fleet import MobileFleet, mobile_fleet


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MobileFleet]:
    async with mobile_fleet(tmp_path) as running:
        monkeypatch.setenv("NF_PROFILE", str(tmp_path / "profile"))
        yield running


@pytest.fixture
async def classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MobileFleet]:
    async with mobile_fleet(tmp_path, classified=True) as running:
        monkeypatch.setenv("NF_PROFILE", str(tmp_path / "profile"))
        yield running


def run(arguments: tuple[str, ...]) -> None:
    """The domain's own commands, whether or not this installation lists them."""
    CLIENT.set(FleetClient())
    command = typer.main.get_command(commands.app)
    with command.make_context("steer", [*arguments]) as context:
        command.invoke(context)


async def steer(*arguments: str) -> None:
    given.set(None)
    await asyncio.to_thread(run, arguments)


async def test_list_show_and_explain(fleet: MobileFleet, capsys: pytest.CaptureFixture[str]) -> None:
    await steer("list")
    told = capsys.readouterr().out
    assert "edge1" in told
    assert "the cache is well" in told
    await steer("list", "--json")
    upfs = json.loads(capsys.readouterr().out)["upfs"]
    assert [(one["upf"], one["appliance"], one["verdict"]) for one in upfs] == [
        ("edge1", "pop", "open"),
        ("edge2", "core", "open"),
    ]
    assert upfs[0]["live"]["steered_packets"] == 7
    assert upfs[0]["paths"][0]["prefixes"] == ["203.0.113.0/24"]

    await steer("show", "edge1")
    told = capsys.readouterr().out
    assert "edge1 steers at its N6, to the cache 10.255.9.3 (pop)" in told
    assert "ch1/mobile" in told
    assert "7 packets steered, 3 by the default exit" in told

    await steer("explain", "10.45.0.2", "203.0.113.77")
    told = capsys.readouterr().out
    assert "prefix 203.0.113.0/24" in told
    assert "edge2" not in told  # it does not know the UE
    await steer("explain", "10.45.0.2", "192.0.2.1", "--json")
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [(one["upf"], one["exit"]) for one in answers] == [("edge1", "default"), ("edge2", "unknown-ue")]
    await steer("explain", "10.45.0.2")
    assert "203.0.113.1" in capsys.readouterr().out

    await steer("applications", "--json")
    (application,) = json.loads(capsys.readouterr().out)["applications"]
    assert application["name"] == "ch1/mobile"
    assert {one["zone"] for one in application["instances"]} == {"core", "edge"}
    await steer("applications")
    assert application["appId"] in capsys.readouterr().out

    completions = await asyncio.to_thread(_completions)
    assert completions == ["edge1", "edge2"]


def _completions() -> list[str]:
    CLIENT.set(FleetClient())
    return commands.upf_names("edge")


async def test_what_goes_wrong_is_said(fleet: MobileFleet, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFoundError, match="no UPF that steers knows this UE") as caught:
        await steer("explain", "10.45.0.99", "203.0.113.1")
    assert "it has no session here" in caught.value.message
    with pytest.raises(InputError, match="names no UE"):
        await steer("explain", "somebody")
    for wrong in ("not a name", "203.0.113.0/33"):
        with pytest.raises(InputError, match="neither an address nor a prefix nor a name"):
            await steer("explain", "10.45.0.2", wrong)
    with pytest.raises(NotFoundError, match="no such UPF that steers") as caught:
        await steer("show", "edge")
    assert "did you mean" in caught.value.remedy

    fleet.steering["core"].fault = "the table is gone"
    with pytest.raises(DriverError, match="not told by: edge2"):
        await steer("list")
    assert "the cache is well" in capsys.readouterr().out  # what is known is shown
    with pytest.raises(DriverError, match="not told by edge2"):
        await steer("explain", "imsi-999700000000001", "203.0.113.1")
    await steer("explain", "10.45.0.2", "203.0.113.1")


async def test_what_a_classifier_sends_to_an_edge_leaves_as_the_gate_there_says(
    classified: MobileFleet, capsys: pytest.CaptureFixture[str]
) -> None:
    async def explained() -> tuple[str, str, str | None]:
        await steer("explain", "10.45.0.3", "203.0.113.77", "--json")
        first = json.loads(capsys.readouterr().out)["answers"][0]
        assert first["upf"] == "central"
        return first["exit"], first["why"], first["cache"]

    assert await explained() == ("cache", "the cache is well", "10.9.9.1")
    edge = classified.steering["pop"]
    edge.shut = "the cache hangs"
    exit_, why, cache = await explained()
    assert (exit_, cache) == ("default", None)
    assert "the gate of edge1 is shut, it leaves by the default exit there: the cache hangs" in why
    await steer("explain", "10.45.0.2", "203.0.113.77")  # a UE at the edge itself is told by the edge
    assert "the gate of edge1" not in capsys.readouterr().out

    edge.fault = "the table is gone"
    with pytest.raises(DriverError, match="whether the gate of edge1 is open is not told"):
        await steer("explain", "10.45.0.3", "203.0.113.77")
    assert "the table is gone" in capsys.readouterr().out


async def test_help_is_there_without_a_noc(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ("--help",)) == 0
    command = typer.main.get_command(commands.app)
    assert sorted(command.commands) == ["applications", "explain", "list", "show"]  # type: ignore[attr-defined]
