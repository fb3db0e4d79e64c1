"""The ADMF's start: it serves when everything is whole, alone on its state, and refuses otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lawful_intercept import pki
from lawful_intercept.administration import audit
from lawful_intercept.administration.client import Client, Profile
from lawful_intercept.administration.office import Caller
from lawful_intercept.administration.process import Ports, open_office, run
from lawful_intercept.administration.settings import AdministrationSettings
from lawful_intercept.administration.site_desk import first_officer
from lawful_intercept.keys import write_key
from nf.clock import RealClock
from nf.errors import BusyError, DeniedError, IdentityError, IntegrityError, NfError, NotFoundError, RefusedError


@pytest.fixture
def settings(tmp_path: Path) -> AdministrationSettings:
    authority = pki.create(tmp_path / "ca", "li.example", RealClock())
    pki.issue(authority, pki.Who.ELEMENT, "admf1", tmp_path / "issued", ip=["127.0.0.1"])
    pki.issue(authority, pki.Who.ELEMENT, "mdf1", tmp_path / "issued")
    pki.issue(authority, pki.Who.OFFICER, "chris", tmp_path / "issued")
    write_key(tmp_path / "store.key")
    tls = {name: tmp_path / "issued" / file for name, file in FILES.items()}
    server = {"listen": {"address": "127.0.0.1", "port": 0}, "tls": tls}
    return AdministrationSettings.model_validate(
        {
            "name": "admf1",
            "state": tmp_path / "state",
            "store_key": f"file:{tmp_path / 'store.key'}",
            "clock": {"assumed": True},
            "officers": server,
            "x1": server,
            "hi1": {"country": "NZ", "identifier": "svnf"},
            "heads": tmp_path / "heads",
        }
    )


FILES = {"certificate": "admf1.pem", "key": "admf1.key", "authority": "ca.pem"}


@asynccontextmanager
async def running(settings: AdministrationSettings) -> AsyncIterator[Ports]:
    there: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(settings, RealClock(), ready=there.set_result))
    await asyncio.wait([task, there], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    yield await there
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def appoint(settings: AdministrationSettings) -> None:
    opened = await open_office(settings, RealClock())
    await first_officer(opened.office, Caller(opened.office.own), "chris")
    await opened.store.close()


def profile(settings: AdministrationSettings, port: int, name: str = "chris", administration: str = "admf1") -> Profile:
    place = settings.x1.tls.certificate.parent
    return Profile(
        administration, f"https://127.0.0.1:{port}", place / f"{name}.pem", place / f"{name}.key", place / "ca.pem"
    )


async def test_an_officer_is_served_and_others_are_not(settings: AdministrationSettings) -> None:
    async with running(settings) as ports:
        async with Client(profile(settings, ports.officers)) as admf:
            with pytest.raises(DeniedError):
                await admf.call("status")
            await appoint(settings)  # another process, while this one runs
            assert (await admf.call("status"))["administration"] == "admf1"
        async with Client(profile(settings, ports.officers, "mdf1")) as admf:
            with pytest.raises(DeniedError, match="officers call here"):
                await admf.call("status")
        async with Client(profile(settings, ports.officers, administration="admf2")) as admf:
            with pytest.raises(IdentityError, match="another one answers"):
                await admf.call("status")
    with pytest.raises(RefusedError, match="there is an LI administrator"):
        await appoint(settings)
    assert audit.read_heads(settings.heads or Path())


async def test_one_alone(settings: AdministrationSettings) -> None:
    async with running(settings):
        with pytest.raises(BusyError):
            await run(settings, RealClock())


async def test_an_audit_key_that_is_gone_is_not_replaced(settings: AdministrationSettings) -> None:
    await appoint(settings)
    (settings.state / "audit.key").unlink()
    with pytest.raises(NotFoundError, match="key of the audit"):
        await run(settings, RealClock())


@pytest.mark.parametrize("file", ["audit.key", "store.key"])
async def test_a_key_that_was_touched_opens_nothing(settings: AdministrationSettings, file: str) -> None:
    await appoint(settings)
    path = settings.state / file
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    with pytest.raises(IntegrityError):
        await run(settings, RealClock())


async def test_a_store_that_was_put_back_as_a_whole(settings: AdministrationSettings) -> None:
    await appoint(settings)
    before = (settings.state / "administration.db").read_bytes()
    async with running(settings) as ports, Client(profile(settings, ports.officers)) as admf:
        await admf.call("officer.add", {"name": "anna", "roles": ["clerk"]})
    async with running(settings):
        pass  # its start exports the head
    (settings.state / "administration.db").write_bytes(before)
    with pytest.raises(IntegrityError, match="when a head was exported"):
        await run(settings, RealClock())


async def test_a_certificate_of_another_name(settings: AdministrationSettings) -> None:
    wrong = settings.model_copy(update={"name": "admf2"})
    with pytest.raises(NfError, match="another name"):
        await run(wrong, RealClock())


async def test_a_copy_in_a_second_place_is_an_admf(settings: AdministrationSettings, tmp_path: Path) -> None:
    await appoint(settings)
    settings = settings.model_copy(update={"replica": tmp_path / "replica"})
    async with running(settings):
        for _ in range(1000):  # a thread writes it, and tells nobody
            if await asyncio.to_thread((tmp_path / "replica" / "administration.db").exists):
                break
            await asyncio.sleep(0.01)
    restored = settings.model_copy(update={"state": tmp_path / "replica", "replica": None, "heads": None})
    async with running(restored) as ports, Client(profile(restored, ports.officers)) as admf:
        assert [one["name"] for one in await admf.call("officer.list")] == ["chris"]


async def test_a_second_place_that_cannot_be_written_is_an_alarm(
    settings: AdministrationSettings, tmp_path: Path
) -> None:
    await appoint(settings)
    (tmp_path / "file").touch()
    settings = settings.model_copy(update={"replica": tmp_path / "file" / "below"})
    async with running(settings) as ports, Client(profile(settings, ports.officers)) as admf:
        for _ in range(1000):
            if alarms := await admf.call("alarms"):
                break
            await asyncio.sleep(0.01)
        assert [one["code"] for one in alarms] == ["replica-not-written"]
