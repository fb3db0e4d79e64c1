"""Bulk import into a live database: nothing unless all is right, batches as a whole, on where it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64

from core5g.open5gs.subscribers import SubscriberDatabase
from core5g.open5gs.subscribers_batches import Batches
from core5g.subscribers.importing import Existing, Outcome, prepare, run
from core5g.subscribers.keys import NoSealer
from core5g.subscribers.reading import parse
from core5g.subscribers.scope import Scope
from nf.errors import ConflictError, DocumentError, RefusedError
from tests.core5g.subscribers.conftest import Open
from tests.core5g.subscribers.support import CORE, MVNO, OURS, Server, csv_text, fleet_file, imsi, key, opc, table


def imported(
    database: SubscriberDatabase, data: str, *, existing: Existing = "refuse", size: int = 500, scope: Scope = OURS
) -> tuple[Outcome, list[int]]:
    """What came of it, and the progress."""
    through: list[int] = []
    octets = data.encode()
    prepared = prepare(octets, parse(octets, "subs.csv"), CORE, scope, NoSealer(), existing=existing, size=size)
    return run(prepared, database, through.append), through


def test_ten_thousand_with_a_bad_line_are_none_and_without_it_all(server: Server, opened: Open) -> None:
    database = opened(server)
    lines = table(range(1, 10_001))
    good = lines[4710][0]
    lines[4710][0] = "99970"
    with pytest.raises(DocumentError) as caught:
        imported(database, csv_text(lines))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.key) == ("subs.csv", 4711, 1, "imsi")
    assert database.count() == 0
    lines[4710][0] = good
    outcome, through = imported(database, csv_text(lines))
    assert outcome == Outcome(added=10_000)
    assert through == [0, *range(500, 10_001, 500)]
    assert database.count() == 10_000
    assert database.work.count_documents({}) == 0


def test_who_is_there_refuses_the_file_with_the_line(server: Server, opened: Open) -> None:
    database = opened(server)
    imported(database, csv_text(table(range(5, 6))))
    with pytest.raises(DocumentError) as caught:
        imported(database, csv_text(table(range(1, 10))))
    (problem,) = caught.value.problems
    assert (problem.line, problem.value, problem.rule) == (6, imsi(5), "there is such a subscriber already")
    assert database.count() == 1


def test_who_is_there_is_left_alone(either: Server, opened: Open) -> None:
    database = opened(either)
    imported(database, csv_text(table(range(5, 6))).replace("200M", "7M"))
    outcome, _ = imported(database, csv_text(table(range(1, 10))), existing="skip")
    assert outcome == Outcome(added=8, skipped=1)
    assert database.get(imsi(5))["ambr"]["downlink"] == {"value": 7, "unit": 2}


def test_who_is_there_is_changed_by_the_columns_that_are_written(either: Server, opened: Open) -> None:
    """The rest stays: other columns, keys, the sequence number."""
    database = opened(either)
    imported(database, csv_text(table(range(1, 7))))
    database.subscribers.update_one({"imsi": imsi(2)}, {"$set": {"security.sqn": Int64(4129)}})
    changes = [["imsi", "dnn", "ipv4"], *([imsi(n), "internet", f"10.45.0.{n + 10}"] for n in range(1, 4))]
    outcome, _ = imported(database, csv_text(changes), existing="change", size=2)
    assert outcome == Outcome(changed=3)
    after = database.find(imsi(2))
    assert after is not None
    assert after["ambr"]["downlink"] == {"value": 200, "unit": 2}
    assert after["slice"][0]["session"][0]["ue"] == {"ipv4": "10.45.0.12"}
    assert (after["security"]["k"], after["security"]["sqn"]) == (key(2), 4129)
    assert imported(database, csv_text(changes), existing="change")[0] == Outcome(unchanged=3)


def test_a_change_of_keys_in_bulk_is_refused_and_a_stranger_needs_them(server: Server, opened: Open) -> None:
    database = opened(server)
    imported(database, csv_text(table(range(1, 3))))
    rows = [["imsi", "k", "opc"], [imsi(1), key(1), opc(1)], [imsi(2), key(9), opc(2)], [imsi(3), "", ""]]
    with pytest.raises(DocumentError) as caught:
        imported(database, csv_text(rows), existing="change")
    assert [(one.line, one.rule) for one in caught.value.problems] == [
        (3, "these are not the keys that the subscriber has"),
        (4, "a new subscriber has keys"),
    ]
    assert key(9) not in str(caught.value.problems)


def test_a_static_address_has_one_subscriber_in_all_plmns(server: Server, opened: Open) -> None:
    ours, mvno = opened(server), opened(server, MVNO)
    head = ["imsi", "k", "opc", "ipv4"]
    imported(ours, csv_text([head, [imsi(1), key(1), opc(1), "10.45.0.9"]]))
    with pytest.raises(DocumentError) as caught:
        imported(ours, csv_text([head, [imsi(2), key(2), opc(2), "10.45.0.9"]]))
    assert [one.rule for one in caught.value.problems] == [f"{imsi(1)} has this address"]
    with pytest.raises(DocumentError) as caught:
        imported(mvno, csv_text([head, [imsi(2, "99971"), key(2), opc(2), "10.45.0.9"]]), scope=MVNO)
    (problem,) = caught.value.problems
    assert problem.rule == "a subscriber of another PLMN has this address"
    assert imsi(1) not in str(problem)
    swapped = [["imsi", "ipv4"], [imsi(1), "10.45.0.8"]]
    assert imported(ours, csv_text(swapped), existing="change")[0] == Outcome(changed=1)


def test_an_import_of_one_plmn_leaves_the_others_alone(server: Server, opened: Open) -> None:
    ours, mvno = opened(server), opened(server, MVNO)
    imported(ours, csv_text(table(range(1, 4))))
    before = list(ours.subscribers.find({}))
    with pytest.raises(DocumentError, match="3 problems"):
        imported(mvno, csv_text(table(range(1, 4))), existing="change", scope=MVNO)
    imported(mvno, csv_text(table(range(1, 4), "99971")), scope=MVNO)
    assert list(ours.subscribers.find({"imsi": {"$lt": "99971"}})) == before
    assert mvno.count() == 3


def _breaking(monkeypatch: pytest.MonkeyPatch, batch: int, half: Any) -> None:
    """At this batch, `half` is called instead of the write."""
    write = Batches._write

    def broken(self: Batches, given: Any, session: Any) -> None:
        if given.number == batch:
            half(self, given, session)
        else:
            write(self, given, session)

    monkeypatch.setattr(Batches, "_write", broken)


def test_a_batch_that_fails_in_the_middle_is_not_there_and_the_same_file_goes_on(
    either: Server, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(either)
    imported(database, csv_text(table(range(1, 31))).replace("200M", "7M"))

    def half(self: Batches, given: Any, session: Any) -> None:
        documents = list(given.new)[:3]
        if documents:
            database.subscribers.insert_many(documents, session=session)
        for one in list(given.changes)[:3]:
            database.subscribers.update_one({"_id": one.before["_id"]}, {"$set": dict(one.wanted)}, session=session)
        raise ConflictError("somebody else was here", remedy="look")

    for broken, there in ((1, 30), (5, 50)):
        text = csv_text(table(range(1, 71)))
        with monkeypatch.context() as patch:
            _breaking(patch, broken, half)
            with pytest.raises(ConflictError) as caught:
                imported(database, text, existing="change", size=10)
        assert f"Batch {broken + 1} of 7 ({imsi(broken * 10 + 1)} to {imsi(broken * 10 + 10)})" in caught.value.message
        assert f"the {broken * 10} subscribers before it are in" in caught.value.message
        assert "run the same command again" in caught.value.remedy
        assert database.count() == there
        changed = database.subscribers.count_documents({"ambr.downlink.value": 200})
        assert changed == broken * 10
    outcome, through = imported(database, text, existing="change", size=10)
    assert outcome == Outcome(added=20, resumed=50)
    assert through == [50, 60, 70]
    assert database.count() == 70
    assert database.subscribers.count_documents({"ambr.downlink.value": 200}) == 70
    assert database.work.count_documents({}) == 0


def test_what_was_removed_since_it_was_cut_off_is_not_passed_over(
    server: Server, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(server)
    text = csv_text(table(range(1, 31)))

    def stop(_self: Batches, _given: Any, _session: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        _breaking(patch, 2, stop)
        with pytest.raises(KeyboardInterrupt):
            imported(database, text, size=10)
    assert database.count() == 20
    database.remove([imsi(3)])
    with pytest.raises(RefusedError, match=f"were removed since: 1, {imsi(3)} the first"):
        imported(database, text, size=10)
    assert imported(database, text, size=10, existing="skip")[0] == Outcome(added=11, skipped=19)


PROGRAM = """
import os, signal, sys
from core5g.open5gs.subscribers_batches import Batches
from core5g.open5gs import subscribers
import nf.cli.main as cli
subscribers.TIMEOUT_S = 1.0
write = Batches._write
def half(self, batch, session):
    if batch.number == 2:
        self._database.subscribers.insert_many(list(batch.new)[:40], session=session)
        os.kill(int(sys.argv[1]), signal.SIGKILL)
    write(self, batch, session)
Batches._write = half
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        ("replica set", "database"),
        ("standalone", "nf"),
        pytest.param("standalone", "database", marks=pytest.mark.soak),
        pytest.param("replica set", "nf", marks=pytest.mark.soak),
    ],
)
def test_killed_in_the_middle_of_a_batch(opened: Open, tmp_path: Path, name: str, kind: str, victim: str) -> None:
    """The database keeps what it has written; a transaction that `nf` left open holds nobody up."""
    options = ("--standalone",) if kind == "standalone" else ()
    mortal = Server(str(tmp_path / "data"), (*options, "--sync-on-commit")).start()
    try:
        _killed_in_the_middle(mortal, opened, tmp_path, name, victim)
    finally:
        mortal.kill()


def _killed_in_the_middle(mortal: Server, opened: Open, tmp_path: Path, name: str, victim: str) -> None:
    fleet = fleet_file(tmp_path / "fleet.json", f"{mortal.uri}/{name}")
    file = tmp_path / "subs.csv"
    file.write_text(csv_text(table(range(1, 501))))
    assert mortal.process is not None
    command = ["subscriber", "import", str(file), "--fleet", str(fleet), "--batch", "100", "--json"]
    target = "os.getpid()" if victim == "nf" else "int(sys.argv[1])"
    program = PROGRAM.replace("int(sys.argv[1])", target)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(mortal.process.pid), *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "NF_PROFILE": "/nonexistent"},
    )
    if victim == "database":
        assert ended.returncode == 5, ended.stderr
        error = json.loads(ended.stderr)["error"]
        assert "Batch 3 of 5" in error["message"]
        assert "run the same command again" in error["remedy"]
        mortal.process.wait(90)
        mortal.start()
    else:
        assert ended.returncode == -9
    database = opened(mortal)
    with Batches(database).writing():
        assert database.count() == 200, "what was half done is taken back by whoever writes next"
    outcome, _ = imported(database, file.read_text(), size=100)
    assert outcome == Outcome(added=300, resumed=200)
    assert [one["imsi"] for one in database.page(1000)] == [imsi(number) for number in range(1, 501)]
    assert database.work.count_documents({}) == 0
    database.close()
