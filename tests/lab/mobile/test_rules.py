"""A session's rules without a UPF round them: whatever is asked is accepted or rejected, and rejected means wiped."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mobile import pfcp
from lab.mobile.pfcp import Cause, Kind, Message, PfcpFormatError, T, ie
from lab.mobile.rules import PDRS, Far, Pdr, RuleRejected, Session
from lab.mobile.usage import Urr

DATA = Path(__file__).parents[2] / "data" / "core5g"
RECORDED = {
    entry["name"]: bytes.fromhex(entry["hex"])
    for entry in reversed(json.loads((DATA / "run3.json").read_text(encoding="utf-8")))
    if entry["dir"] == "CP->UP"
}
ESTABLISHMENT = RECORDED["session_establishment"]
REQUESTS = [data for data in RECORDED.values() if data[1] in (50, 52)]


class Around:
    """A UPF of one pool that gives out TEIDs in order."""

    def __init__(self) -> None:
        self.teids = 0
        self.flushed: list[bytes] = []
        self.markers: list[int] = []

    def new_teid(self) -> int:
        self.teids += 1
        return self.teids

    def tunnel_addresses(self) -> tuple[IPv4Address | None, IPv6Address | None]:
        return IPv4Address("10.50.0.7"), None

    def tun_of(self, dnn: str | None, version: int) -> int | None:
        return 3 if dnn == "internet" else None

    def flush(self, far: Far, pdr: Pdr) -> None:
        self.flushed += far.buffered
        far.buffered = []

    def end_marker(self, teid: int, peer: IPv4Address | IPv6Address) -> None:
        self.markers.append(teid)


def _session() -> Session:
    session = Session(1, 2, Around(), pdn_type=1)
    session.apply(pfcp.parse(ESTABLISHMENT))
    return session


def _modification(*ies: bytes) -> Message:
    return pfcp.parse(pfcp.build(Kind.SESSION_MODIFICATION_REQUEST, 1, *ies, seid=1))


@given(st.sampled_from(REQUESTS), st.lists(st.tuples(st.integers(16, 600), st.integers(0, 255)), max_size=6))
def test_mutated_requests_are_accepted_or_rejected_and_wiped(data: bytes, changes: list[tuple[int, int]]) -> None:
    mutated = bytearray(data)
    for at, octet in changes:
        mutated[at % len(mutated)] = octet
    session = _session()
    try:
        message = pfcp.parse(bytes(mutated))
        session.apply(message)
    except PfcpFormatError:
        return
    except RuleRejected:
        assert not session.pdrs
        assert not session.by_teid
        assert session.fallback is None
    assert len(session.pdrs) <= PDRS


def test_fteids_of_one_choose_id_are_one() -> None:
    def pdr(number: int, choose: bytes) -> bytes:
        pdi = ie(T.PDI, ie(T.SOURCE_INTERFACE, b"\0"), ie(T.F_TEID, choose))
        return ie(T.CREATE_PDR, ie(T.PDR_ID, number.to_bytes(2)), pdi, ie(T.FAR_ID, (1).to_bytes(4)))

    created = _session().apply(_modification(pdr(20, b"\x0f\5"), pdr(21, b"\7"), pdr(22, b"\x0f\5")))
    teids = [pdr.fteid.teid for pdr in created if pdr.fteid]
    assert teids[0] == teids[2] != teids[1]


def test_an_unknown_dnn_is_refused() -> None:
    session = Session(1, 2, Around(), dnn="foo", pdn_type=1)
    with pytest.raises(RuleRejected) as caught:
        session.apply(pfcp.parse(RECORDED["est_unknown_dnn"]))
    assert (caught.value.cause, caught.value.offending) == (Cause.NO_RESOURCES, None)


def test_what_waited_goes_out_once_the_gnb_is_known() -> None:
    session, far_id = _session(), ie(T.FAR_ID, (1).to_bytes(4))
    session.apply(_modification(ie(T.UPDATE_FAR, far_id, ie(T.APPLY_ACTION, b"\x0c\0"))))
    session.fars[1].buffered.append(b"packet")
    session.apply(_modification(ie(T.UPDATE_FAR, far_id, ie(T.APPLY_ACTION, b"\2\0"))))
    assert session.around.flushed == [b"packet"]  # type: ignore[attr-defined]


def test_the_first_report_counts_from_1970_and_the_next_from_it() -> None:
    now = 1_800_000_000.0
    urr = Urr(1, lambda: now)
    urr.configure(((T.REPORTING_TRIGGERS, b"\2\0\0"), (T.VOLUME_THRESHOLD, b"\1" + (100).to_bytes(8))))
    assert not urr.count(60, 0)
    assert urr.count(60, 1)
    first = pfcp.members(pfcp.members(urr.report())[0][1])
    assert pfcp.number(pfcp.first(first, T.DURATION_MEASUREMENT)) == int(now)
    assert pfcp.first(first, T.START_TIME) is None
    now += 5
    last = pfcp.members(pfcp.members(urr.report(final=True))[0][1])
    assert pfcp.number(pfcp.first(last, T.DURATION_MEASUREMENT)) == 5
    assert pfcp.number(pfcp.first(last, T.TIME_OF_FIRST_PACKET)) == pfcp.NTP_EPOCH
    assert pfcp.number(pfcp.first(last, T.UR_SEQN)) == 1
