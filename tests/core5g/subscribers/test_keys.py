"""Keys: OPc of TS 35.208, what is refused, sealing; and that they show nowhere."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.subscribers.keys import Keys, NoSealer, Sealer, check, opc_of
from core5g.subscribers.showing import REMOVED, like_a_key, shown
from nf.documents.model import RuleError
from nf.errors import IntegrityError
from tests.core5g.subscribers.support import OP, OPC, K

VECTORS = [  # TS 35.208 clause 4.3, test sets 1 to 6: K, OP, OPc
    (K, OP, OPC),
    ("0396eb317b6d1c36f19c1c84cd6ffd16", "ff53bade17df5d4e793073ce9d7579fa", "53c15671c60a4b731c55b4a441c0bde2"),
    ("fec86ba6eb707ed08905757b1bb44b8f", "dbc59adcb6f9a0ef735477b7fadf8374", "1006020f0a478bf6b699f15c062e42b3"),
    ("9e5944aea94b81165c82fbf9f32db751", "223014c5806694c007ca1eeef57f004f", "a64a507ae1a2a98bb88eb4210135dc87"),
    ("4ab1deb05ca6ceb051fc98e77d026a84", "2d16c5cd1fdf6b22383584e3bef2a8d8", "dcf07cbd51855290b92a07a9891e523e"),
    ("6c38a116ac280c454f59332ee35c8c4f", "1ba00a1a7c6700ac8c3ff3e96ad08725", "3803ef5363b947c6aaa225e58fae3934"),
]
SEALER = Sealer("ab" * 32, "the test")
IMSI = "999700000000001"
HEX_KEY = st.binary(min_size=16, max_size=16).map(bytes.hex)


@pytest.mark.parametrize(("k", "op", "opc"), VECTORS)
def test_opc_of_ts_35_208(k: str, op: str, opc: str) -> None:
    assert opc_of(k, op) == opc
    keys, problems = check({"k": k, "op": op}, IMSI, NoSealer())
    assert (keys, problems) == (Keys(k, opc), [])


def test_spelling_of_other_tools_is_taken() -> None:
    keys, _ = check({"k": "465B5CE8 B199B49F AA5F0A2E E238A6BC", "opc": OPC.upper(), "amf": "8000"}, IMSI, NoSealer())
    assert keys == Keys(K, OPC)


@pytest.mark.parametrize(
    ("security", "columns"),
    [
        ({"k": K}, {"opc"}),
        ({"opc": OPC}, {"k"}),
        ({"k": K[:-1], "opc": OPC}, {"k"}),
        ({"k": K, "opc": OPC + "0"}, {"opc"}),
        ({"k": K[:-1] + "g", "opc": "x"}, {"k", "opc"}),
        ({"k": 7, "opc": [OPC]}, {"k", "opc"}),
        ({"k": K, "opc": OPC, "amf": "0000"}, {"amf"}),
        ({"k": K, "opc": OPC, "amf": "80"}, {"amf"}),
        ({"k": K, "op": OP, "opc": "00" * 16}, {"opc"}),
        ({"k": SEALER.seal(K, IMSI, "k"), "opc": OPC}, {"k"}),
    ],
)
def test_what_is_no_key_is_told_without_a_word_of_it(security: dict[str, Any], columns: set[str]) -> None:
    keys, problems = check(security, IMSI, NoSealer())
    assert keys is None
    assert {one.name for one in problems} == columns
    text = repr(problems).lower()
    assert not any(len(str(value)) > 4 and str(value).lower()[:8] in text for value in security.values())


def test_nothing_written_is_no_keys() -> None:
    assert check({}, IMSI, NoSealer()) == (None, [])
    assert check({"k": "", "opc": None}, IMSI, NoSealer()) == (None, [])


def test_keys_have_no_text() -> None:
    assert K not in repr(Keys(K, OPC))
    assert OPC not in str(Keys(K, OPC))
    assert "abab" not in repr(SEALER)


@given(HEX_KEY, st.sampled_from(["k", "opc", "op"]))
def test_sealed_and_opened(value: str, name: str) -> None:
    sealed = SEALER.seal(value, IMSI, name)
    assert value not in sealed
    assert SEALER.open(sealed, IMSI, name) == value


def test_two_seals_of_one_key_differ() -> None:
    assert SEALER.seal(K, IMSI, "k") != SEALER.seal(K, IMSI, "k")


@pytest.mark.parametrize(("imsi", "name"), [("999700000000002", "k"), (IMSI, "opc")])
def test_a_seal_holds_for_its_subscriber_and_its_column(imsi: str, name: str) -> None:
    with pytest.raises(RuleError, match="another subscriber or column"):
        SEALER.open(SEALER.seal(K, IMSI, "k"), imsi, name)


def test_a_seal_of_another_key_is_known() -> None:
    other = Sealer("cd" * 32, "the test")
    with pytest.raises(RuleError, match=f"sealed with the key {other.name}, not with {SEALER.name}"):
        SEALER.open(other.seal(K, IMSI, "k"), IMSI, "k")


@given(st.integers(0, 58), st.sampled_from("AZaz09-_"))
def test_an_altered_seal_is_refused(position: int, letter: str) -> None:
    sealed = SEALER.seal(K, IMSI, "k")
    start = len("sealed:") + 9
    altered = sealed[: start + position] + letter + sealed[start + position + 1 :]
    try:
        opened = SEALER.open(altered, IMSI, "k")
    except RuleError:
        return
    assert opened == K  # the last character has two bits that say nothing


@pytest.mark.parametrize("text", ["", "ab" * 31, "zz" * 32, "ab" * 33])
def test_a_wrong_sealing_key_is_not_quoted(text: str) -> None:
    with pytest.raises(IntegrityError, match="64 hexadecimal digits") as caught:
        Sealer(text, "/secrets/x")
    assert not text or text not in str(caught.value)


def test_a_sealer_does_not_leave_the_process() -> None:
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(SEALER)


@given(HEX_KEY, st.integers(0, 31), st.sampled_from(["", " ", "-", ":"]), st.sampled_from("OlIzZxg"))
def test_what_is_like_a_key_is_never_shown(value: str, misread: int, separator: str, letter: str) -> None:
    misspelled = value[:misread] + letter + value[misread + 1 :]
    for text in (value, value[:24], misspelled):
        parted = separator.join(text[i : i + 4] for i in range(0, len(text), 4))
        for spelled in (parted, parted.upper(), f"x={parted}", f'"{parted}"'):
            assert shown(spelled) == REMOVED


@pytest.mark.parametrize(
    "text",
    ["999700000000001", "3534900698733190", "10.45.0.9", "2001:db8:45:abcd:1234:5678::7", "internet", "200M"],
)
def test_what_is_none_is_shown(text: str) -> None:
    assert not like_a_key(text)
    assert shown(text) == text


def test_values_are_short_and_on_one_line() -> None:
    assert shown("x y " * 40) == ("x y " * 40)[:57] + "..."
    assert shown("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert shown(["a"]) == shown({"a": 1}) == shown(None) == ""
