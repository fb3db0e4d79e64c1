"""Files: every bad line with its place, its rule and what to do, and all of them at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.subscribers import columns
from core5g.subscribers.importing import Existing, Prepared, prepare
from core5g.subscribers.keys import NoSealer
from core5g.subscribers.reading import parse
from core5g.subscribers.scope import Scope
from nf.errors import DocumentError, Problem
from tests.core5g.subscribers.support import CORE, MVNO, OPC, OURS, K, csv_text, imsi, key, opc, table


def prepared(data: bytes, scope: Scope = OURS, existing: Existing = "refuse") -> Prepared:
    return prepare(data, parse(data, "subs"), CORE, scope, NoSealer(), existing=existing)


def problems(data: bytes | str, scope: Scope = OURS) -> list[Problem]:
    try:
        prepared(data.encode() if isinstance(data, str) else data, scope)
    except DocumentError as error:
        return list(error.problems)
    return []


def rows(*cells: str, head: str = "imsi,k,opc") -> str:
    return head + "\n" + "".join(f"{row}\n" for row in cells)


GOOD = f"{imsi(1)},{K},{OPC}"


def test_a_small_table_is_a_subscriber_with_the_cores_defaults() -> None:
    (one,) = prepared(rows(GOOD).encode()).subscribers
    assert one.keys is not None
    (session,) = one.subscriber.sessions
    assert (session.dnn, session.slice, session.type, session.qos_index) == ("internet", "1", "ipv4v6", 9)


def test_several_dnns_slices_and_static_addresses() -> None:
    head = "imsi,k,opc,msisdn,dnn,slice,ipv4,2.dnn,2.slice,2.5qi,2.type,2.downlink,2.arp,2.preempt,default_slices"
    row = f"{GOOD},491511;491512,internet,1-00002a,10.45.0.9,ims,1,5,ipv4,64k,2,yes,1-00002a;1"
    (one,) = prepared(rows(row, head=head).encode()).subscribers
    first, second = one.subscriber.sessions
    assert one.subscriber.msisdn == ("491511", "491512")
    assert (str(first.ipv4), first.slice) == ("10.45.0.9", "1-00002a")
    assert (second.dnn, second.qos_index, second.downlink_bps, second.arp, second.preempt) == (
        "ims",
        5,
        64_000,
        2,
        True,
    )
    assert one.subscriber.default_slices == ("1-00002a", "1")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_line_ends_a_byte_order_mark_and_comments(delimiter: str) -> None:
    text = "\ufeff# from the SIM vendor\n\n" + rows(GOOD).replace(",", delimiter).replace("\n", "\r\n")
    assert [one.entry.line for one in prepared(text.encode()).subscribers] == [4]


@pytest.mark.parametrize(
    ("head", "row", "column", "place", "value", "rule"),
    [
        ("imsi,k,opc", f"99970,{K},{OPC}", "imsi", 1, "99970", "an IMSI has 15 digits"),
        ("imsi,k,opc", f"9.9997E+14,{K},{OPC}", "imsi", 1, "", "a spreadsheet has rounded the IMSI"),
        ("imsi,k,opc", f"{imsi(1, '99971')},{K},{OPC}", "imsi", 1, imsi(1, "99971"), "the IMSI is not of PLMN 999-70"),
        ("k,opc,imsi", f"{K},{OPC},{imsi(1)[:-2]}", "imsi", 67, imsi(1)[:-2], "an IMSI has 15 digits"),
        ("imsi,k,opc", f"{imsi(1)},{K[1:]},{OPC}", "k", 17, "", "32 hexadecimal digits"),
        ("imsi,k,opc", f"{imsi(1)},,", "k", 17, "", "a new subscriber has keys"),
        ("imsi,k,opc,msisdn", f"{GOOD},+49 151", "msisdn", 83, "+49 151", "an MSISDN is 3 to 15 digits"),
        ("imsi,k,opc,msisdn", f"{GOOD},1234;2345;3456", "msisdn", 83, "", "has room for 2 of them"),
        ("imsi,k,opc,dnn", f"{GOOD},intenet", "dnn", 83, "intenet", "the core has no such DNN"),
        ("imsi,k,opc,slice", f"{GOOD},2", "slice", 83, "2", "the core has no such slice"),
        ("imsi,k,opc,slice", f"{GOOD},1-2a", "slice", 83, "1-2a", "a slice is its SST"),
        ("imsi,k,opc,5qi", f"{GOOD},1", "5qi", 83, "1", "a session's own 5QI is a non-GBR one"),
        ("imsi,k,opc,5qi", f"{GOOD},nine", "5qi", 83, "nine", "must be a whole number"),
        ("imsi,k,opc,arp", f"{GOOD},16", "arp", 83, "16", "must be at most 15"),
        ("imsi,k,opc,preempt", f"{GOOD},perhaps", "preempt", 83, "perhaps", "must be true or false"),
        ("imsi,k,opc,downlink", f"{GOOD},50 MBit", "downlink", 83, "50 MBit", "a bit rate is a number with k, M or G"),
        (
            "imsi,k,opc,downlink",
            f"{GOOD},9999999999",
            "downlink",
            83,
            "9999999999",
            "Open5GS cannot keep this bit rate",
        ),
        ("imsi,k,opc,ipv4", f"{GOOD},10.47.0.9", "ipv4", 83, "10.47.0.9", "the address is in no pool of its DNN"),
        ("imsi,k,opc,ipv4", f"{GOOD},10.45.0.1", "ipv4", 83, "10.45.0.1", "the pool's first address is the UPF's own"),
        ("imsi,k,opc,ipv4", f"{GOOD},10.45.255.255", "ipv4", 83, "10.45.255.255", "the address of the pool itself"),
        ("imsi,k,opc,ipv4", f"{GOOD},10.45.0.x", "ipv4", 83, "10.45.0.x", "must be an IPv4 address"),
        ("imsi,k,opc,ipv6", f"{GOOD},2001:db8:45::7", "ipv6", 83, "2001:db8:45::7", "first address is the UPF's own"),
        ("imsi,k,opc,ipv6", f"{GOOD},2001:db8:46::7", "ipv6", 83, "2001:db8:46::7", "in no pool of its DNN"),
        ("imsi,k,opc,2.dnn", f"{GOOD},internet", "dnn", 1, "", "a DNN stands twice in slice 1"),
        ("imsi,k,opc,status", f"{GOOD},granded", "status", 83, "granded", "must be one of: granted, barred"),
        ("imsi,k,opc,default_slices", f"{GOOD},1-00002a", "imsi", 1, "", "no session is in the default slice"),
        ("imsi,k,opc", f"{GOOD},x", "", 1, "", "the line has 4 cells, and the header has 3"),
        ("imsi,k,opc", f'"{GOOD}', "", 1, "", "the line is not CSV"),
        ("imsi,k,opc,msisdn", f"{GOOD},{K}", "msisdn", 83, "[removed]", "an MSISDN is 3 to 15 digits"),
    ],
)
def test_a_bad_line_is_told_with_its_place(  # noqa: PLR0917  # the columns of the table above
    head: str, row: str, column: str, place: int, value: str, rule: str
) -> None:
    good = GOOD.replace(imsi(1), imsi(2)) + "," * (head.count(",") - 2)
    if head.startswith("k"):
        good = f"{K},{OPC},{imsi(2)}"
    found = problems(rows(good, row, head=head))
    assert len(found) == 1, found
    (one,) = found
    assert (one.file, one.line) == ("subs", 3)
    if column not in ("dnn", "imsi") or value:
        assert (one.column, one.key, one.value) == (place, column, value)
    assert rule in one.rule
    assert one.remedy
    assert K not in str(found)


def test_nothing_of_a_broken_table_head_is_guessed() -> None:
    found = problems(rows(GOOD, head="imsi,ki,opc"))
    assert [(one.line, one.column, one.rule, one.value) for one in found] == [(1, 6, "no such column", "ki")]
    assert problems("k,opc\n")[0].rule == "there is no column imsi"
    assert problems("imsi,imsi\n")[0].rule == "the column stands there twice"
    assert problems("imsi,10.downlin\n")[0].remedy == "did you mean 2.downlink?"
    assert problems(f"{GOOD}\n")[0].value == imsi(1)
    assert K not in str(problems(f"{GOOD}\n"))


def test_a_quote_left_open_does_not_swallow_the_next_lines() -> None:
    found = problems(rows(f'"{GOOD}', GOOD.replace(imsi(1), "7")))
    assert [(one.line, one.rule[:20]) for one in found] == [(2, "the line is not CSV"), (3, "an IMSI has 15 digit")]


def test_line_4711_of_10000_is_the_one_that_is_told() -> None:
    lines = table(range(1, 10_000))
    lines[4710][0] = "99970X"
    found = problems(csv_text(lines))
    assert [(one.line, one.column, one.key, one.value) for one in found] == [(4711, 1, "imsi", "99970X")]


def test_ten_thousand_bad_lines_are_a_thousand_and_a_count() -> None:
    found = problems(csv_text([["imsi", "k", "opc"], *([str(n), key(n), opc(n)] for n in range(10_000))]))
    assert len(found) == 1001
    assert found[-1].rule == "and 9000 more problems"


def test_what_stands_twice_in_the_file() -> None:
    head = "imsi,k,opc,ipv4,2.dnn,2.ipv4"
    other = GOOD.replace(imsi(1), imsi(2))
    found = problems(rows(f"{GOOD},10.45.0.9,,", f"{other},10.45.0.9,,", f"{GOOD},,,", head=head))
    assert [(one.line, one.key, one.rule) for one in found] == [
        (3, "ipv4", "the address is given in line 2 already"),
        (4, "imsi", "the IMSI stands in line 2 already"),
    ]


def test_two_addresses_of_one_prefix_are_one_address() -> None:
    head = "imsi,k,opc,ipv6"
    other = GOOD.replace(imsi(1), imsi(2))
    found = problems(rows(f"{GOOD},2001:db8:45:7::1", f"{other},2001:db8:45:7::2", head=head))
    assert [(one.line, one.value) for one in found] == [(3, "2001:db8:45:7::/64")]


def test_another_plmns_line_refuses_the_file_for_either() -> None:
    text = rows(GOOD, GOOD.replace(imsi(1), imsi(1, "99971")))
    assert [one.line for one in problems(text, OURS)] == [3]
    assert [one.line for one in problems(text, MVNO)] == [2]


def test_more_than_open5gs_takes() -> None:
    """It would abort, for everybody."""
    many = [{"dnn": "internet", "slice": str(sst)} for sst in range(1, 10)]
    document = [{"imsi": imsi(1), "security": {"k": K, "opc": OPC}, "sessions": many}]
    assert "Open5GS takes 8 slices for a subscriber" in [one.rule for one in problems(json.dumps(document))]
    document[0]["sessions"] = [{"dnn": f"d{number}", "slice": "1"} for number in range(5)]
    assert "Open5GS takes 4 DNNs in a slice; 1 has more" in [one.rule for one in problems(json.dumps(document))]


# ---- JSON ----


def one_json(**more: Any) -> dict[str, Any]:
    return {"imsi": imsi(1), "security": {"k": K, "opc": OPC}, **more}


RULE = {"5qi": 1, "flows": [{"direction": "downlink", "description": "permit out ip from 203.0.113.0/24 to assigned"}]}
RATES = {"downlink": "64k", "uplink": "64k"}


def test_json_says_more_than_a_table() -> None:
    session = {"dnn": "internet", "pcc_rules": [{**RULE, "maximum": RATES, "guaranteed": RATES}]}
    for document in ([one_json(sessions=[session])], {"subscribers": [one_json(sessions=[session])]}):
        (one,) = prepared(json.dumps(document).encode()).subscribers
        assert one.subscriber.sessions[0].pcc_rules[0].guaranteed is not None


@pytest.mark.parametrize(
    ("session", "key_", "rule"),
    [
        ({"dnn": 7}, "[0].dnn", "must be text"),
        ({"dnnn": "internet"}, "[0].dnnn", "unknown key"),
        ({"ipv4": "10.45.0.9", "type": "ipv6"}, "[0]", "an IPv6 session has no IPv4 address"),
        ({"pcc_rules": [RULE]}, "[0].pcc_rules[0]", "this 5QI guarantees a bit rate"),
        ({"pcc_rules": [{**RULE, "5qi": 9, "guaranteed": RATES}]}, "[0].pcc_rules[0]", "guarantees no bit rate"),
        ({"pcc_rules": [{**RULE, "5qi": 11}]}, "[0].pcc_rules[0].5qi", "no such 5QI"),
        (
            {
                "pcc_rules": [
                    {"5qi": 9, "flows": [{"direction": "uplink", "description": "permit in ip from any to any"}]}
                ]
            },
            "[0].pcc_rules[0].flows[0].description",
            "a flow is written downlink-wise",
        ),
        (
            {
                "pcc_rules": [
                    {"5qi": 9, "flows": [{"direction": "uplink", "description": "permit out ip from cdn to any"}]}
                ]
            },
            "[0].pcc_rules[0].flows[0].description",
            "an end of a flow is any, assigned, or an address or prefix",
        ),
    ],
)
def test_json_problems_have_places(session: dict[str, Any], key_: str, rule: str) -> None:
    text = json.dumps([one_json(), {**one_json(imsi=imsi(2)), "sessions": [session]}], indent=2)
    (one,) = problems(text)
    assert rule in one.rule
    assert one.key.replace('["5qi"]', ".5qi") == f"sessions{key_}"
    last = key_.rpartition(".")[2] if "." in key_ else ""
    line = text.splitlines()[one.line - 1]
    if last and last in session and last != "dnnn":
        assert f'"{last}"' in line
        assert line[one.column - 1 :].startswith(json.dumps(session[last]))


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("[\n{]", 2, "this is not JSON"),
        ("[\n{}\n{}]", 3, "the list is not closed here"),
        ("[\n", 2, "this is not JSON"),
        ("[]\n[]", 1, "there is more behind the list"),
        ("{}", 1, "a file of subscribers is a list"),
        ('[{"imsi": NaN}]', 1, "a number or a depth that JSON has not"),
        ("[" * 9000, 1, "a number or a depth that JSON has not"),
        ('[\n{"imsi": "1", "imsi": "2"}]', 2, "a key stands twice"),
        ('[\n"999700000000001"]', 2, "a subscriber is an object"),
        ('[{"imsi": "1",\n"security": {"ki": "x"}}]', 2, "not the keys of a subscriber"),
        ("", 1, "the file is empty"),
        ("\n \n", 1, "the file is empty"),
    ],
)
def test_what_is_no_list_of_subscribers(text: str, line: int, rule: str) -> None:
    found = problems(text)
    (told,) = [one for one in found if rule in one.rule]
    assert told.line == line
    assert told.remedy


def test_text_that_is_not_utf8_is_told_with_its_place() -> None:
    (one,) = problems(b"imsi,k\n\n1,\xff")
    assert (one.line, one.column, one.rule) == (3, 3, "the file is not UTF-8")


# ---- properties ----

WORD = st.text(alphabet="abcXYZ019. ;-\"',=", max_size=12)
COLUMN = st.sampled_from([name for name in columns.known() if name not in columns.SECURITY])


@given(st.lists(COLUMN, unique=True, max_size=6), st.lists(st.lists(WORD, max_size=7), max_size=5))
def test_every_cell_that_is_told_stands_where_it_is_said(names: list[str], lines: list[list[str]]) -> None:
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["imsi", *(name for name in names if name != "imsi")])
    writer.writerows([line for line in lines if any(line)])
    text = buffer.getvalue()
    for one in problems(text):
        raw = text.split("\n")[one.line - 1]
        assert 1 <= one.column <= len(raw) + 1
        if one.value and one.value.isalnum() and one.key in ("imsi", *names):
            assert one.column == 1 or raw[one.column - 2] == ","
            assert one.value.strip() in raw[one.column - 1 :], "a cell may hold several, with semicolons"


DATA = st.fixed_dictionaries(
    {
        "imsi": st.just(imsi(7)),
        "sessions": st.lists(st.just({"dnn": "internet", "slice": "1"}), min_size=1, max_size=1),
    },
    optional={
        "msisdn": st.lists(st.from_regex(r"\A[1-9][0-9]{5,14}\Z"), min_size=1, max_size=2),
        "status": st.sampled_from(["granted", "barred"]),
        "barring": st.integers(0, 8),
        "timer_min": st.integers(1, 1000),
        "ue_downlink": st.sampled_from(["1G", "64k", "100M"]),
    },
)


@given(DATA)
def test_cells_and_data_are_each_others_inverse(data: dict[str, Any]) -> None:
    assert columns.fill({}, columns.cells_of(data)) == data


@pytest.mark.parametrize("column", columns.known())
def test_places_and_columns_are_each_others_inverse(column: str) -> None:
    place = columns.place_of(column)
    assert place is not None
    assert columns.column_of(place) == column
