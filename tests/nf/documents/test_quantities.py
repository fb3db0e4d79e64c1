from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.documents.quantities import (
    MAX_BITRATE_BPS,
    MAX_DURATION_MS,
    format_bitrate,
    format_duration,
    parse_bitrate,
    parse_duration_ms,
)


@given(st.integers(min_value=1, max_value=MAX_BITRATE_BPS))
def test_bit_rates_round_trip(bps: int) -> None:
    assert parse_bitrate(format_bitrate(bps)) == bps


@given(st.integers(min_value=0, max_value=MAX_DURATION_MS))
def test_durations_round_trip(milliseconds: int) -> None:
    assert parse_duration_ms(format_duration(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("text", "bps"), [("8M", 8_000_000), ("750k", 750_000), ("1.5G", 1_500_000_000), (64, 64), ("2Mbit/s", 2_000_000)]
)
def test_bit_rates(text: object, bps: int) -> None:
    assert parse_bitrate(text) == bps


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("500ms", 500), ("2s", 2000), ("1.5s", 1500), ("5m", 300_000), ("24h", 86_400_000)]
)
def test_durations(text: str, milliseconds: int) -> None:
    assert parse_duration_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["8X", "8 M", "M", "-8M", "1e6", "0.0000001M", True, None, 8.5, "٣M", "9" * 5000])
def test_no_bit_rate(text: object) -> None:
    with pytest.raises(ValueError, match="bit rate"):
        parse_bitrate(text)


@pytest.mark.parametrize("text", [5, "5", "5 s", "5min", "-5s", "0.0001s", None, True, "9" * 5000 + "s"])
def test_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration_ms(text)
