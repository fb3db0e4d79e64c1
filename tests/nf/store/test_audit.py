"""The chain as pure functions: any single change to it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf.errors import InputError
from nf.store.audit import GENESIS, AuditEntry, AuditHead, AuditRecord, link, seal, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
ACTOR = "spiffe://tv.example/operator/alice"

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
entries = st.builds(lambda word, detail: AuditEntry(ACTOR, word, word, "done", {"value": detail}), words, words)
times = st.floats(0, 4e9)


def chain(steps: list[tuple[AuditEntry, float]]) -> tuple[list[AuditRecord], AuditHead]:
    head, records = seal(0, GENESIS, KEY.sign), []
    for entry, at in steps:
        records.append(link(entry, head, at))
        head = seal(records[-1].number, records[-1].hash, KEY.sign)
    return records, head


chains = st.lists(st.tuples(entries, times), min_size=1, max_size=5).map(chain)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # cores may be shared


@unhurried
@given(chains)
def test_an_untouched_chain_is_intact(made: tuple[list[AuditRecord], AuditHead]) -> None:
    records, head = made
    report = verify(records, head, KEY.sign)
    assert report.intact
    assert (report.records, report.head, report.first_broken) == (len(records), head.hash, 0)


@unhurried
@given(chains, st.data())
def test_any_changed_field_is_found_at_its_record(
    made: tuple[list[AuditRecord], AuditHead], data: st.DataObject
) -> None:
    records, head = made
    at = data.draw(st.integers(0, len(records) - 1))
    name = data.draw(st.sampled_from(list(AuditRecord.__slots__)))
    old = getattr(records[at], name)
    strategy = st.integers(-5, 2**60) if isinstance(old, int) else st.text(max_size=80)
    new = data.draw(strategy.filter(lambda value: value != old))
    tampered = [*records[:at], replace(records[at], **{name: new}), *records[at + 1 :]]
    report = verify(tampered, head, KEY.sign)
    assert not report.intact
    assert report.first_broken == at + 1
    assert report.detail


@unhurried
@given(chains, st.data())
def test_a_removed_record_is_found(made: tuple[list[AuditRecord], AuditHead], data: st.DataObject) -> None:
    records, head = made
    at = data.draw(st.integers(0, len(records) - 1))
    report = verify(records[:at] + records[at + 1 :], head, KEY.sign)
    assert not report.intact
    assert report.first_broken == at + 1


@unhurried
@given(chains.filter(lambda made: len(made[0]) > 1), st.data())
def test_exchanged_records_are_found(made: tuple[list[AuditRecord], AuditHead], data: st.DataObject) -> None:
    records, head = made
    order = data.draw(st.permutations(records).filter(lambda other: other != records))
    first = next(n for n, (a, b) in enumerate(zip(order, records, strict=True), start=1) if a != b)
    report = verify(order, head, KEY.sign)
    assert not report.intact
    assert report.first_broken == first


@unhurried
@given(chains, entries, times, st.data())
def test_a_chain_that_was_rewritten_from_some_record_on_fails_at_its_signature(
    made: tuple[list[AuditRecord], AuditHead], entry: AuditEntry, at: float, data: st.DataObject
) -> None:
    records, head = made
    kept = records[: data.draw(st.integers(0, len(records) - 1))]
    previous = AuditHead(len(kept), kept[-1].hash if kept else GENESIS)
    forged = link(entry, previous, at)
    for signature in (b"", head.signature, OTHER_KEY.sign(b"anything")):
        if forged.hash == head.hash:
            continue
        assert not verify([*kept, forged], AuditHead(forged.number, forged.hash, signature), KEY.sign).intact


def test_a_chain_that_was_emptied_whole_is_found() -> None:
    assert not verify([], AuditHead(), KEY.sign).intact
    assert not verify([], None, KEY.sign).intact
    assert verify([], AuditHead()).intact


@pytest.mark.parametrize("actor", ["alice", "", "root", "spiffe://tv.example/robot/r2", "spiffe://TV.example/noc/a"])
def test_an_actor_is_a_spiffe_id(actor: str) -> None:
    with pytest.raises(InputError, match="SPIFFE"):
        AuditEntry(actor, "a", "b", "done")


@pytest.mark.parametrize(
    "detail",
    [
        {"token": "x"},
        {"inner": [{"Password": "x"}]},
        {"text": "-----BEGIN PRIVATE KEY-----"},
    ],
)
def test_what_looks_like_a_secret_is_refused(detail: dict[str, object]) -> None:
    with pytest.raises(InputError, match="secret"):
        AuditEntry(ACTOR, "a", "b", "done", detail)  # type: ignore[arg-type]


@pytest.mark.parametrize("detail", [{"x": float("nan")}, {"x": "\ud800"}, {"x": object()}])
def test_a_detail_that_is_no_json_is_refused(detail: dict[str, object]) -> None:
    with pytest.raises(InputError, match="JSON"):
        AuditEntry(ACTOR, "a", "b", "done", detail)  # type: ignore[arg-type]
