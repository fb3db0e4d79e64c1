"""The client of Traffic Ops, against answers recorded from its documentation; no real Traffic Ops was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import (
    DeniedError,
    IdentityError,
    InputError,
    IntegrityError,
    NfError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from nf.media.purge.urls import Url
from nf.media.trafficops.client import Account, TrafficOps
from nf.media.trafficops.model import Invalidation, Status, cache_group_of, job_of, server_of, topology_of
from nf.media.trafficops.orders import order_of
from tests.nf.media.trafficops.recorded import CONTRACT, PASSWORD, USER, Recorded, recorded


@pytest.fixture
def ops() -> Iterator[Recorded]:
    with recorded() as made:
        yield made


def account(ops: Recorded) -> Account:
    return Account(ops.url, USER, PASSWORD)


def test_it_logs_in_once_and_again_when_its_session_ended(ops: Recorded) -> None:
    with TrafficOps(account(ops)) as client:
        assert [one.name for one in client.cache_groups()] == ["Mid West", "Edge_Lyon"]
        assert {one.host: one.status for one in client.servers()}["edge-2"] == "ADMIN_DOWN"
        assert ops.logins == 1
        ops.sessions.clear()
        (topology,) = client.topologies()
        assert topology.parents == {"Edge_Lyon": ("Mid West",), "Mid West": ()}
        assert ops.logins == 2


def test_a_wrong_password_is_told_and_not_quoted(ops: Recorded) -> None:
    with TrafficOps(replace(account(ops), password="opensesame")) as client, pytest.raises(IdentityError) as caught:
        client.servers()
    assert "opensesame" not in str(caught.value) + repr(replace(account(ops), password="opensesame"))


def test_a_purge_becomes_a_job_that_begins_in_the_future(ops: Recorded) -> None:
    order = order_of(Url("", "ch1", "v720/1.m4s"), "demo1", Invalidation.REFRESH, 72, 1_636_419_718.4)
    with TrafficOps(account(ops)) as client:
        job = client.invalidate(order)
        assert (job.id, job.invalidation, job.ttl_hours) == (1, "REFRESH", 72)
        assert client.remove_job(1).invalidation == "REFETCH"
        assert [one.id for one in client.jobs("demo1")] == [1]
    assert ops.asked[1:] == [
        (
            "POST",
            "/api/5.0/jobs",
            {
                "deliveryService": "demo1",
                "invalidationType": "REFRESH",
                "regex": r"/ch1/v720/1\.m4s",
                "startTime": "2021-11-09T01:02:03Z",
                "ttlHours": 72,
            },
        ),
        ("DELETE", "/api/5.0/jobs?id=1", None),
        ("GET", "/api/5.0/jobs?deliveryService=demo1", None),
    ]


def test_a_server_is_taken_out_for_a_reason(ops: Recorded) -> None:
    with TrafficOps(account(ops)) as client:
        assert "ADMIN_DOWN" in client.set_status(13, Status.ADMIN_DOWN, "Bad drives")
    assert ops.asked[-1] == (
        "PUT",
        "/api/5.0/servers/13/status",
        {"status": "ADMIN_DOWN", "offlineReason": "Bad drives"},
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RefusedError), (403, DeniedError), (404, NotFoundError), (503, UnavailableError), (302, RefusedError)],
)
def test_a_refusal_is_told_in_its_words(ops: Recorded, status: int, kind: type[NfError]) -> None:
    ops.answers["servers"] = (status, {"alerts": [{"text": "startTime must be in the future", "level": "error"}]})
    with TrafficOps(account(ops)) as client, pytest.raises(kind, match="startTime must be in the future"):
        client.servers()


@pytest.mark.parametrize("strange", ["no json", [], {}, {"response": {}}, {"response": [{}]}, {"response": [None]}])
def test_what_is_no_answer_of_the_api_is_refused(ops: Recorded, strange: object) -> None:
    for call in ("servers", "cachegroups", "topologies"):
        ops.answers[call] = (200, strange)
    with TrafficOps(account(ops)) as client:
        for read in (client.servers, client.cache_groups, client.topologies):
            with pytest.raises(IntegrityError):
                read()


def test_a_password_goes_over_https_only() -> None:
    for url in ("http://ops.example", "ftp://ops.example", "ops.example", "https://ops.example/api", "https://[", ""):
        with pytest.raises(InputError):
            TrafficOps(Account(url, USER, PASSWORD))


def test_nobody_there_is_told() -> None:
    with recorded() as gone:
        pass
    with TrafficOps(account(gone)) as client, pytest.raises(UnavailableError):
        client.servers()


_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), st.sampled_from(["cachegroups", "servers", "topologies", "jobs"]))
def test_hostile_members_are_refused_and_never_worse(data: st.DataObject, kind: str) -> None:
    read = {"cachegroups": cache_group_of, "servers": server_of, "topologies": topology_of, "jobs": job_of}[kind]
    good = dict(CONTRACT[kind]["response"][0])
    member = data.draw(st.sampled_from(sorted(good)))
    good[member] = data.draw(_json)
    try:
        read(good)
    except IntegrityError as error:
        assert error.where  # noqa: PT017 - either is right


@given(st.text(max_size=20), st.text(max_size=20))
def test_the_expression_of_a_purge_matches_what_it_names(channel: str, name: str) -> None:
    order = order_of(Url("", channel, name), "ds", Invalidation.REFETCH, 1, 0.0)
    assert re.fullmatch(order.regex, f"/{channel}/{name}", re.DOTALL)
    assert bool(re.fullmatch(order.regex, f"/{channel}/{name}x", re.DOTALL)) == (not name or name.endswith("/"))
