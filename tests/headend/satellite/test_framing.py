"""MODCODs and framing, judged by the published efficiencies and by what two receivers in the field reported."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.satellite.framing import (
    FrameSize,
    bbframe_bits,
    efficiency,
    gse_net_bitrate_bps,
    net_bitrate_bps,
    plframe_duration_s,
    plframe_symbols,
    slots,
    ts_net_bitrate_bps,
)
from headend.satellite.modcod import MODCODS, Modcod, Standard, by_name, by_number
from headend.satellite.threshold import Losses, hard_limiter_penalty_db, margin_db, required_es_n0_db
from nf.errors import InputError

SHARED = Path(os.environ.get("NF_SHARED", Path(__file__).parents[4] / "shared"))
modcods = st.sampled_from(MODCODS)
symbol_rates = st.integers(100_000, 70_000_000)

# EN 302 307-1 table 13 and EN 302 307-2 table 20a, spectral efficiency without pilots.
PUBLISHED_EFFICIENCY = {
    "QPSK 1/4": 0.490243,
    "QPSK 9/10": 1.788612,
    "8PSK 3/4": 2.228124,
    "16APSK 5/6": 3.300184,
    "32APSK 9/10": 4.453027,
    "QPSK 13/45": 0.567805,
    "8APSK 26/45-L": 1.713601,
    "16APSK 2/3-L": 2.635236,
    "32APSK 2/3-L": 3.291954,
    "64APSK 5/6": 4.936639,
    "128APSK 3/4": 5.163248,
    "256APSK 3/4": 5.900855,
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference table is not here")
def test_every_modcod_is_the_reference_tables() -> None:
    rows = json.loads((SHARED / "reference/headend/modcods.json").read_text())
    assert len(rows) == len(MODCODS)
    for row, ours in zip(rows, MODCODS, strict=True):
        assert ours.name == f"{row['mod']} {row['rate']}"
        assert ours.standard is Standard[row["std"]]
        assert (ours.kbch, slots(ours)) == (row["kbch"], row["slots"])
        assert (ours.es_n0_db, ours.hard_limiter_db) == (row["esn0_awgn"], row["esn0_nl"])
        for pilots, suffix in ((False, ""), (True, "_pilots")):
            assert plframe_symbols(ours, pilots=pilots) == row[f"plframe{suffix}"]
            assert float(efficiency(ours, pilots=pilots)) == pytest.approx(row[f"eta{suffix}"], abs=2e-6)


@pytest.mark.parametrize(("name", "published"), PUBLISHED_EFFICIENCY.items())
def test_efficiencies_are_the_published_ones(name: str, published: float) -> None:
    assert float(efficiency(by_name(name), pilots=False)) == pytest.approx(published, abs=2e-6)


@pytest.mark.parametrize(
    ("symbol_rate_baud", "reported_bps"),
    [
        # PBI IRD, tunerTotalBitrate, in a walk of the LibreNMS project (ird.snmprec)
        (27_500_000, 59_881_760),
        # Cisco D9854, inputStatusInputRate "65.32624" Mbit/s, same project (ciscosat.snmprec)
        (30_000_000, 65_326_240),
    ],
)
def test_two_receivers_in_the_field_report_this_rate(symbol_rate_baud: int, reported_bps: int) -> None:
    ours = net_bitrate_bps(by_name("8PSK 3/4"), symbol_rate_baud, pilots=True)
    assert ours == pytest.approx(reported_bps, rel=10e-6)


def test_a_receiver_in_the_field_needs_this_es_n0() -> None:
    """The same D9854 reports C/N 10.0 dB and a margin of 1.6 dB."""
    assert margin_db(by_name("8PSK 3/4"), 10.0, Losses()) == pytest.approx(1.6, abs=0.05)


def test_plframes_have_the_standards_lengths() -> None:
    lengths = {
        row.constellation: (plframe_symbols(row, pilots=False), plframe_symbols(row, pilots=True)) for row in MODCODS
    }
    assert lengths == {
        "QPSK": (32490, 33282),
        "8PSK": (21690, 22194),
        "8APSK": (21690, 22194),
        "16APSK": (16290, 16686),
        "32APSK": (13050, 13338),
        "64APSK": (10890, 11142),
        "128APSK": (9360, 9576),
        "256APSK": (8190, 8370),
    }
    assert plframe_duration_s(by_name("QPSK 1/2"), 33_282, pilots=True) == 1.0


def test_names_and_numbers_find_the_same_row() -> None:
    assert [by_number(row.number) for row in MODCODS] == list(MODCODS)
    assert [by_name(f" {row.name.replace(' ', '  ')} ") for row in MODCODS] == list(MODCODS)
    assert len({row.pls for row in MODCODS}) == len(MODCODS) == 67
    assert [row.name for row in MODCODS if row.vl_snr] == ["QPSK 2/9"]
    assert str(by_number(14)) == "8PSK 3/4"


@pytest.mark.parametrize("number", [0, 68, -1])
def test_unknown_numbers_are_refused(number: int) -> None:
    with pytest.raises(InputError, match="MODCOD number"):
        by_number(number)


def test_unknown_names_are_refused_with_an_example() -> None:
    with pytest.raises(InputError, match="8PSK 3/4"):
        by_name("8PSK 7/8")


@given(modcods, symbol_rates, st.booleans())
def test_pilots_cost_about_two_percent_and_rates_are_whole(modcod: Modcod, rate: int, pilots: bool) -> None:
    assert net_bitrate_bps(modcod, rate, pilots=pilots) == int(rate * efficiency(modcod, pilots=pilots))
    cost = 1 - efficiency(modcod, pilots=True) / efficiency(modcod, pilots=False)
    assert Fraction(20, 1000) < cost < Fraction(25, 1000)


@given(st.sampled_from([row for row in MODCODS if row.kbch_short]), st.booleans())
def test_short_frames_carry_less_for_each_symbol(modcod: Modcod, pilots: bool) -> None:
    short = efficiency(modcod, pilots=pilots, frame=FrameSize.SHORT)
    assert short < efficiency(modcod, pilots=pilots)
    assert bbframe_bits(modcod, FrameSize.SHORT) < bbframe_bits(modcod) / 4


def test_short_frames_of_what_has_none_are_refused() -> None:
    for name in ("QPSK 9/10", "8PSK 23/36"):
        with pytest.raises(InputError, match="no short FECFRAME"):
            efficiency(by_name(name), pilots=True, frame=FrameSize.SHORT)


def test_what_acm_adds_to_each_packet() -> None:
    modcod, rate = by_name("8PSK 3/4"), 30_000_000
    plain = ts_net_bitrate_bps(modcod, rate, pilots=True)
    assert plain == net_bitrate_bps(modcod, rate, pilots=True)
    padded = ts_net_bitrate_bps(modcod, rate, pilots=True, null_packet_deletion=True, issy_bytes=3)
    assert padded == pytest.approx(plain * 188 / 192, abs=1)
    with pytest.raises(InputError, match="ISSY"):
        ts_net_bitrate_bps(modcod, rate, pilots=True, issy_bytes=1)


def pack_gse(field_bytes: int, pdu_bytes: int, label_bytes: int, frames: int) -> int:
    """PDUs completed in `frames` data fields by a sender that fragments and never leaves room it could use."""
    done = rest = 0
    fragmented = False
    for _ in range(frames):
        room = field_bytes
        while room:
            if not fragmented:
                if room >= 4 + label_bytes + pdu_bytes:
                    room -= 4 + label_bytes + pdu_bytes
                    done += 1
                    continue
                if room <= 7 + label_bytes:
                    break
                rest = pdu_bytes - min(pdu_bytes - 1, room - 7 - label_bytes)
                fragmented = True
                break
            if room >= 3 + rest + 4:
                room -= 3 + rest + 4
                fragmented = False
                done += 1
                continue
            if room <= 3:
                break
            rest -= min(rest - 1, room - 3)
            break
    return done


@given(
    st.sampled_from([("QPSK 1/4", FrameSize.SHORT), ("QPSK 1/2", FrameSize.NORMAL), ("8PSK 3/4", FrameSize.NORMAL)]),
    st.integers(40, 4000),
    st.sampled_from([0, 3, 6]),
)
def test_a_gse_sender_reaches_the_rate_that_we_promise(
    carrier: tuple[str, FrameSize], pdu_bytes: int, label_bytes: int
) -> None:
    modcod, frame = by_name(carrier[0]), carrier[1]
    frames = 400
    seconds = Fraction(frames * plframe_symbols(modcod, pilots=True, frame=frame), 10_000_000)
    field = (bbframe_bits(modcod, frame) - 80) // 8
    sent = pack_gse(field, pdu_bytes, label_bytes, frames)
    promised = gse_net_bitrate_bps(
        modcod, 10_000_000, pilots=True, pdu_bytes=pdu_bytes, label_bytes=label_bytes, frame=frame
    )
    assert promised * seconds / 8 <= (sent + 1) * pdu_bytes
    assert promised <= net_bitrate_bps(modcod, 10_000_000, pilots=True, frame=frame)


def test_gse_costs_little_for_full_packets_and_refuses_what_it_cannot_carry() -> None:
    modcod, rate = by_name("8PSK 3/4"), 30_000_000
    gse = gse_net_bitrate_bps(modcod, rate, pilots=True, pdu_bytes=1500)
    assert 0.99 < gse / net_bitrate_bps(modcod, rate, pilots=True) < 0.998
    with pytest.raises(InputError, match="label"):
        gse_net_bitrate_bps(modcod, rate, pilots=True, pdu_bytes=1500, label_bytes=4)
    for pdu in (0, 4094):
        with pytest.raises(InputError, match="PDU"):
            gse_net_bitrate_bps(modcod, rate, pilots=True, pdu_bytes=pdu)


def test_a_saturated_transponder_asks_for_more() -> None:
    linear, saturated = Losses(), Losses(saturated=True)
    assert required_es_n0_db(by_name("8PSK 3/4"), linear) == 8.41
    # S2 has no hard limiter column: 8PSK 3/4 takes the 0.93 dB of S2X's 8PSK 13/18.
    assert required_es_n0_db(by_name("8PSK 3/4"), saturated) == 9.34
    assert required_es_n0_db(by_name("32APSK 32/45"), saturated) == 16.0
    assert all(hard_limiter_penalty_db(row) > 0 for row in MODCODS)
