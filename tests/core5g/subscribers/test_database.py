"""Subscribers in a live database: the shape that Open5GS reads, PLMNs apart, SQN kept, one address for one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo import MongoClient

from core5g.open5gs.subscribers import SubscriberDatabase
from core5g.open5gs.subscribers_batches import Batches
from core5g.open5gs.subscribers_shape import data_of, fields, new_document
from core5g.subscribers.documents import Subscriber
from core5g.subscribers.keys import Keys
from core5g.subscribers.rules import complete
from nf.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    IdentityError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from tests.core5g.subscribers.conftest import Open
from tests.core5g.subscribers.support import CORE, MVNO, OPC, OURS, K, Server, imsi
from tests.support.ports import free_port

KEYS = Keys(K, OPC)


def subscriber(number: int = 1, plmn: str = "99970", **more: Any) -> Subscriber:
    return Subscriber.model_validate(complete({"imsi": imsi(number, plmn), **more}, CORE))


RICH = subscriber(
    msisdn=["491511"],
    default_slices=["1-00002a", "1"],
    sessions=[
        {"dnn": "internet", "slice": "1-00002a", "ipv4": "10.45.0.9", "ipv6": "2001:db8:45:7::1", "downlink": "50M"},
        {
            "dnn": "ims",
            "slice": "1",
            "5qi": 5,
            "arp": 1,
            "preempt": True,
            "pcc_rules": [
                {
                    "5qi": 1,
                    "arp": 2,
                    "flows": [{"direction": "uplink", "description": "permit out 17 from any to assigned 5000-5010"}],
                    "maximum": {"downlink": "128k", "uplink": "128k"},
                    "guaranteed": {"downlink": "64k", "uplink": "64k"},
                }
            ],
        },
    ],
)


def test_the_shape_is_the_one_of_open5gs() -> None:
    """webui/server/models/subscriber.js and lib/dbi/subscription.c of v2.8."""
    document = new_document(RICH, KEYS)
    assert document["schema_version"] == 1
    assert document["security"] == {"k": K, "op": None, "opc": OPC, "amf": "8000", "sqn": 0}
    assert type(document["security"]["sqn"]) is Int64
    assert [(one["sst"], one.get("sd"), one["default_indicator"]) for one in document["slice"]] == [
        (1, "00002a", True),
        (1, None, True),
    ]
    assert document["slice"][0]["session"] == [
        {
            "name": "internet",
            "type": 3,
            "qos": {
                "index": 9,
                "arp": {"priority_level": 8, "pre_emption_capability": 1, "pre_emption_vulnerability": 1},
            },
            "ambr": {"downlink": {"value": 50, "unit": 2}, "uplink": {"value": 1, "unit": 3}},
            "ue": {"ipv4": "10.45.0.9", "ipv6": "2001:db8:45:7::1"},
            "pcc_rule": [],
        }
    ]
    (rule,) = document["slice"][1]["session"][0]["pcc_rule"]
    assert rule["flow"] == [{"direction": 2, "description": "permit out 17 from any to assigned 5000-5010"}]
    assert rule["qos"]["gbr"] == {"downlink": {"value": 64, "unit": 1}, "uplink": {"value": 64, "unit": 1}}
    assert (document["access_restriction_data"], document["network_access_mode"]) == (32, 0)
    assert (document["subscribed_rau_tau_timer"], document["subscriber_status"]) == (12, 0)


def test_what_was_written_is_read_back(server: Server, opened: Open) -> None:
    database = opened(server)
    database.add(RICH, KEYS)
    read = database.get(RICH.imsi)
    assert "security" not in read
    assert Subscriber.model_validate(data_of(read)) == RICH


def test_numbers_are_of_the_width_that_open5gs_reads(server: Server, opened: Open) -> None:
    database = opened(server)
    database.add(subscriber(sqn=2**33), KEYS)
    types = database.subscribers.aggregate(
        [
            {
                "$project": {
                    "sqn": {"$type": "$security.sqn"},
                    "timer": {"$type": "$subscribed_rau_tau_timer"},
                    "rate": {"$type": "$ambr.downlink.value"},
                }
            }
        ]
    ).next()
    assert (types["sqn"], types["timer"], types["rate"]) == ("long", "int", "int")


def test_a_document_of_open5gs_dbctl_is_read_and_changed(server: Server, opened: Open) -> None:
    """As misc/db/open5gs-dbctl writes it, a sequence number that the UDR counted up, and a key that we do not know."""
    database = opened(server)
    rate = {"value": 1_000_000_000, "unit": 0}
    session = {
        "name": "internet",
        "type": 3,
        "qos": {"index": 9, "arp": {"priority_level": 8, "pre_emption_capability": 1, "pre_emption_vulnerability": 2}},
        "ambr": {"downlink": rate, "uplink": rate},
        "lbo_roaming_allowed": True,
        "pcc_rule": [],
    }
    database.subscribers.insert_one(
        {
            "imsi": imsi(1),
            "slice": [{"sst": 1, "default_indicator": True, "session": [session]}],
            "security": {"k": K.upper(), "op": None, "opc": OPC.upper(), "amf": "8000", "sqn": Int64(4129)},
            "ambr": {"downlink": rate, "uplink": rate},
            "subscriber_status": 0,
        }
    )
    data = data_of(database.get(imsi(1)))
    assert data["sessions"][0]["preemptable"] is True
    changed = database.change(subscriber(msisdn=["491511"]), KEYS)
    assert "msisdn" in changed
    assert not any(name.startswith("security") for name in changed)
    after = database.find(imsi(1))
    assert after is not None
    assert after["security"]["sqn"] == 4129
    assert after["slice"][0]["session"][0]["lbo_roaming_allowed"] is True
    assert database.change(subscriber(msisdn=["491511"]), KEYS) == ()


def test_new_keys_leave_the_sequence_number(server: Server, opened: Open) -> None:
    database = opened(server)
    database.add(subscriber(sqn=64), KEYS)
    assert database.change(subscriber(), Keys(OPC, K)) == ("security.k", "security.opc")
    after = database.find(imsi(1))
    assert after is not None
    assert (after["security"]["k"], after["security"]["sqn"]) == (OPC, 64)


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(
    server: Server, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(server)
    database.add(subscriber(), KEYS)
    find = SubscriberDatabase.find

    def then_changed(self: SubscriberDatabase, one: str) -> Any:
        found = find(self, one)
        self.subscribers.update_one({"imsi": one}, {"$set": {"msisdn": ["491519"]}})
        return found

    monkeypatch.setattr(SubscriberDatabase, "find", then_changed)
    with pytest.raises(ConflictError, match="somebody else changed it"):
        database.change(subscriber(msisdn=["491511"]), None)
    assert database.get(imsi(1))["msisdn"] == ["491519"]


def test_a_plmn_sees_and_touches_its_own_only(server: Server, opened: Open) -> None:
    ours, mvno = opened(server), opened(server, MVNO)
    ours.add(subscriber(), KEYS)
    mvno.add(subscriber(plmn="99971"), KEYS)
    assert [one["imsi"] for one in ours.page(10)] == [imsi(1)]
    assert [one["imsi"] for one in mvno.page(10)] == [imsi(1, "99971")]
    assert (ours.count(), mvno.count()) == (1, 1)
    assert mvno.present("0", "9" * 15) == {imsi(1, "99971")}
    assert set(mvno.whole("0", "9" * 15)) == {imsi(1, "99971")}
    for act in (mvno.get, mvno.find, lambda one: mvno.remove([imsi(1, "99971"), one])):
        with pytest.raises(DeniedError, match="not of PLMN 999-71"):
            act(imsi(1))
    for write in (lambda: mvno.add(subscriber(2), KEYS), lambda: mvno.change(subscriber(), None)):
        with pytest.raises(DeniedError):
            write()
    assert (ours.count(), mvno.count()) == (1, 1)


def test_pages(server: Server, opened: Open) -> None:
    database = opened(server)
    database.subscribers.insert_many([new_document(subscriber(number), KEYS) for number in range(1, 8)])
    first = [one["imsi"] for one in database.page(3)]
    second = [one["imsi"] for one in database.page(3, after=first[-1])]
    assert first + second == [imsi(number) for number in range(1, 7)]
    assert database.count({"slice.session.name": "internet"}) == 7


def test_what_is_there_or_is_not(server: Server, opened: Open) -> None:
    database = opened(server)
    with Batches(database).writing():
        database.add(subscriber(), KEYS)
        with pytest.raises(ConflictError, match="there is such a subscriber already"):
            database.add(subscriber(), KEYS)
        assert database.remove([imsi(1), imsi(2)]) == 1
    with pytest.raises(NotFoundError):
        database.get(imsi(1))
    with pytest.raises(NotFoundError):
        database.change(subscriber(), None)


def test_one_writes_at_a_time(server: Server, opened: Open) -> None:
    first, second = Batches(opened(server)), Batches(opened(server, MVNO))
    with first.writing(), pytest.raises(BusyError, match="writes subscribers now"), second.writing():
        pass
    with second.writing():
        pass


def test_the_lease_of_a_dead_process_is_taken_over(server: Server, opened: Open) -> None:
    database = opened(server)
    with Batches(database).writing():
        database.work.update_one({"_id": "lease"}, {"$set": {"owner.pid": 2**22 + 1}})
        with Batches(opened(server)).writing():
            pass


def test_a_database_with_an_imsi_twice_is_refused(server: Server, opened: Open) -> None:
    database = opened(server)
    database.subscribers.insert_many([{"imsi": imsi(1)}, {"imsi": imsi(1)}])
    with pytest.raises(RefusedError, match="twice"), Batches(database).writing():
        pass


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        SubscriberDatabase.connect(f"mongodb://127.0.0.1:{free_port()}", "x", OURS, timeout_s=0.2)


def test_a_database_that_asks_for_a_password(tmp_path: Path) -> None:
    server = Server(str(tmp_path / "data"), ("--sync-on-commit",)).start()
    try:
        with MongoClient[dict[str, Any]](server.uri) as client:
            client["open5gs"].command("createUser", "nf", pwd="sesame", roles=["readWrite"])
        server.stop()
        server.options = ("--auth",)
        server.start()
        with pytest.raises(IdentityError) as caught:
            SubscriberDatabase.connect(server.uri, "open5gs", OURS, user="nf", password="sesame2").count()
        assert "sesame" not in str(caught.value)
        database = SubscriberDatabase.connect(server.uri, "open5gs", OURS, user="nf", password="sesame")
        assert database.count() == 0
        database.close()
    finally:
        server.kill()


def test_the_drivers_log_has_no_keys(server: Server, opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        database = opened(server)
        database.add(subscriber(), KEYS)
        database.find(imsi(1))
        with pytest.raises(ConflictError) as caught, Batches(database).writing():
            database.add(subscriber(), KEYS)
    assert K not in caplog.text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_fields_of_a_subscriber_equal_themselves() -> None:
    document = new_document(RICH, KEYS)
    assert fields(RICH, document) == {name: document[name] for name in fields(RICH)}
