"""The officers' API, without a wire: every method has its handler and role, and nothing that is sent breaks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawful_intercept.administration import site_desk
from lawful_intercept.administration.agencies import AGENCY_SETTINGS
from lawful_intercept.administration.client import error_of
from lawful_intercept.administration.elements import ELEMENT_SETTINGS, ElementSettings
from lawful_intercept.administration.hi1 import Party
from lawful_intercept.administration.links import Links, Pace
from lawful_intercept.administration.office import Caller, Office
from lawful_intercept.administration.officers import METHODS
from lawful_intercept.administration.service import _SITE, _WARRANTS, HTTP, Service, error_json
from lawful_intercept.administration.store import Store
from lawful_intercept.administration.warrants import CONTENT
from nf.clock import VirtualClock
from nf.contracts.json import Json
from nf.errors import DeniedError, InputError, NfError, NotFoundError, Problem, RefusedError, UnavailableError
from nf.trust.spiffe import SpiffeId
from tests.support.administration import CUSTOMS, MDF1, NOON, POLICE, POP1, SECRETS, Memory, content, encrypted

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def caller(name: str) -> Caller:
    return Caller(SpiffeId("li.example", "officer", name), "ab" * 32)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    clock = VirtualClock(NOON.timestamp())
    path = tmp_path / "administration.db"
    store = await Store.open(path, AESGCM(bytes(32)), KEY.sign, clock)
    office = await Office.open(store, clock, SpiffeId("li.example", "element", "admf1"), Party("NZ", "svnf"))
    chris = caller("chris")
    await site_desk.first_officer(office, chris, "chris")
    for name, role in (("anna", "clerk"), ("bob", "approver"), ("dora", "auditor")):
        await site_desk.officer_add(office, chris, {"name": name, "roles": [role]})
    for element in (POP1, MDF1):
        await site_desk.element_add(office, chris, {"settings": ELEMENT_SETTINGS.json(element)})
    await site_desk.agency_add(office, chris, {"settings": AGENCY_SETTINGS.json(POLICE)})

    def connect(_: ElementSettings) -> Memory:
        return Memory()

    links = Links(office, connect, Pace())
    yield Service(office, links, path, KEY.public_key())
    await links.close()
    await store.close()


async def call(service: Service, who: str, method: str, **arguments: Json) -> Json:
    return await service.answer(caller(who), method, json.dumps(arguments).encode())


def test_every_method_has_a_handler() -> None:
    audits = {"audit.list", "audit.verify", "audit.export"}
    assert METHODS.keys() == _WARRANTS.keys() | _SITE.keys() | audits


async def test_a_life_by_calls(service: Service) -> None:
    made = await call(service, "anna", "warrant.create", content=CONTENT.json(content()), submit=False)
    assert isinstance(made, dict)
    number = made["number"]
    assert made["state"] == "draft"
    for who, method, state in (
        ("anna", "warrant.submit", "submitted"),
        ("bob", "warrant.approve", "approved"),
        ("bob", "warrant.revoke", "revoked"),
    ):
        assert await call(service, who, method, number=number) == {"number": number, "state": state}
    with pytest.raises(NfError, match="cannot approve"):
        await call(service, "bob", "warrant.approve", number=number)
    shown = await call(service, "bob", "warrant.show", number=number)
    assert isinstance(shown, dict)
    assert shown["content"] == CONTENT.json(content())
    assert await call(service, "bob", "warrant.list") == []
    ended = await call(service, "bob", "warrant.list", all=True)
    assert isinstance(ended, list)
    assert len(ended) == 1


async def test_a_payload_key_is_one_liids(service: Service) -> None:
    settings = {"settings": AGENCY_SETTINGS.json(encrypted("file:/etc/nf-li/police.key")), "replace": True}
    await call(service, "chris", "agency.add", **settings)
    numbers = []
    for liid in ("NZ-0001", "NZ-0002"):
        fields = CONTENT.json(content(liid=liid))
        made = await call(service, "anna", "warrant.create", content=fields, submit=True)
        assert isinstance(made, dict)
        numbers.append(made["number"])
    await call(service, "bob", "warrant.approve", number=numbers[0])
    with pytest.raises(RefusedError, match="more than one LIID"):
        await call(service, "bob", "warrant.approve", number=numbers[1])
    third = CONTENT.json(content(liid="NZ-0003"))
    with pytest.raises(RefusedError, match="more than one LIID"):
        await call(service, "anna", "warrant.create", content=third, submit=True)
    own = {"settings": AGENCY_SETTINGS.json(encrypted()), "replace": True}
    await call(service, "chris", "agency.add", **own)
    await call(service, "bob", "warrant.approve", number=numbers[1])
    with pytest.raises(RefusedError, match="more than one LIID"):
        await call(service, "chris", "agency.add", **settings)
    customs = AGENCY_SETTINGS.json(encrypted(agency=CUSTOMS))
    with pytest.raises(RefusedError, match="another agency has this payload key"):
        await call(service, "chris", "agency.add", settings=customs, replace=False)


async def test_who_looked_is_on_record(service: Service) -> None:
    await call(service, "bob", "warrant.list")
    await call(service, "chris", "agency.show", name="police")
    records = await call(service, "dora", "audit.list", limit=3)
    assert isinstance(records, list)
    assert [one["action"] for one in records] == ["audit.list", "agency.show", "warrant.list"]  # type: ignore[index,call-overload]
    assert "police" not in json.dumps(records)


async def test_an_export_in_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lawful_intercept.administration.audit_desk.PAGE", 3)
    page = await call(service, "dora", "audit.export")
    assert isinstance(page, dict)
    head = page["head"]
    assert isinstance(head, dict)
    numbers: list[Json] = []
    while page["records"]:
        numbers += [one["number"] for one in page["records"]]  # type: ignore[union-attr,index,call-overload]
        page = await call(service, "dora", "audit.export", after=numbers[-1], until=head["head"])
        assert isinstance(page, dict)
    assert numbers == list(range(1, int(str(head["head"])) + 1))


async def test_an_element_that_is_not_spoken_with(service: Service) -> None:
    with pytest.raises(UnavailableError):
        await call(service, "chris", "element.check", name="pop1")


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"[" * 100_000, b'"x"'])
async def test_bodies_that_are_no_object(service: Service, body: bytes) -> None:
    with pytest.raises(InputError):
        await service.answer(caller("anna"), "warrant.list", body)


async def test_no_such_method(service: Service) -> None:
    with pytest.raises(DeniedError):
        await call(service, "anna", "warrant.steal")
    records = await call(service, "dora", "audit.list", limit=2)
    assert isinstance(records, list)
    assert records[1]["action"] == "unknown"  # type: ignore[index,call-overload]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "number",
    "name",
    "content",
    "settings",
    "roles",
    "xml",
    "agency",
    "numbers",
    "receiver",
    "limit",
    "after",
    "clear",
    "state",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(data=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
async def test_whatever_is_sent_is_answered_or_refused(service: Service, data: dict[str, Json]) -> None:
    """With an error of the house, and nothing kept that the store cannot give again."""
    who = {"warrant": "anna", "officer": "chris", "agency": "chris", "element": "chris", "audit": "dora"}
    for method in METHODS:
        try:
            await service.answer(caller(who.get(method.partition(".")[0], "chris")), method, json.dumps(data).encode())
        except NfError as error:
            told = str(error) + str(error.problems)
            assert not [secret for secret in SECRETS if secret in told]
    office = service._office
    again = await Office.open(office.store, office.clock, office.own, office.party)
    assert (again.officers, again.warrants) == (office.officers, office.warrants)


def test_errors_travel() -> None:
    for kind in (one for one in NfError.__subclasses__() if one.__module__ == NfError.__module__):
        error = kind("what", where="there", remedy="do")
        again = error_of(error_json(error))
        assert (type(again), again.message, again.where, again.remedy) == (kind, "what", "there", "do")
        assert error.status in HTTP or error.status.name in ("CANCELLED", "INTERNAL", "DATA_LOSS")
    problem = Problem("rule", "remedy", key="a.b")
    assert error_of(error_json(InputError("x", problems=[problem]))).problems == (problem,)
    assert type(error_of({"kind": "__class__"})) is NfError
    assert type(error_of({"kind": "NotFoundError"})) is NotFoundError
