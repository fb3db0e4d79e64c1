"""Every kind of mistake: where it stands, what it is called, and what to do."""

from __future__ import annotations

import pytest

from headend.multicast.documents import EXTENSION, SsmPath
from nf.documents.fleet import Fleet
from nf.documents.lineup import LineUp
from nf.documents.loader import MAX_PROBLEMS, Loaded, load_config, load_fleet, load_lineup
from nf.documents.registry import Registry
from nf.documents.tree import MAX_BYTES
from nf.errors import DocumentError, Problem
from tests.nf.planning.samples import DOCUMENTS, compiled

REGISTRY = Registry([EXTENSION])

LINEUP = """\
apiVersion: streamverse.nf/v1
kind: LineUp
metadata: {name: sample}
spec:
  sources:
    - {id: s1, appliance: headend, port: 6001, bitrate: 1M}
  channels:
    - id: ch1
      name: Channel One
      lcn: 101
      uid: "tag:streamverse.test,2026:ch1"
      source: s1
      delivery:
        - {id: iptv, type: ssm, group: 232.10.1.1, rate: 1M, sites: [pop1]}
  policy:
    deadline: 2m
"""
FLEET = """\
apiVersion: streamverse.nf/v1
kind: Fleet
metadata: {name: sample}
spec:
  sites:
    - {id: hub, criticality: required}
  appliances:
    - id: headend
      site: hub
      role: headend
      serial: S1
      management: 172.20.20.11
      interfaces:
        - {name: eth1, address: 10.1.0.10/24}
  links:
    - {id: hl, endpoints: ["headend:eth1", "c1:eth1"], capacity: 100M}
"""

Found = tuple[int, int, str, str, str, str]


def lineup(text: str | bytes) -> Loaded[LineUp]:
    return load_lineup(text, file="lineup.yaml", extensions=REGISTRY)


def wrong(text: str | bytes, loader: str = "lineup") -> list[Found]:
    """Line, column, key, value, rule, remedy of every problem."""
    load = {"lineup": load_lineup, "fleet": load_fleet}[loader]
    with pytest.raises(DocumentError) as caught:
        load(text, file="some.yaml", extensions=REGISTRY)
    assert all(problem.file == "some.yaml" for problem in caught.value.problems)
    return [(p.line, p.column, p.key, p.value, p.rule, p.remedy) for p in caught.value.problems]


def changed(old: str, new: str) -> list[Found]:
    assert old in LINEUP
    return wrong(LINEUP.replace(old, new, 1))


def test_the_samples_load() -> None:
    for name in ("lineup.yaml", "lineup-overload.yaml"):
        document = load_lineup((DOCUMENTS / name).read_bytes(), file=name).document
        assert isinstance(document.spec.channels[0].delivery[0], SsmPath)
    fleet = load_fleet((DOCUMENTS / "fleet.yaml").read_bytes(), file="fleet.yaml").document
    assert isinstance(fleet, Fleet)
    assert fleet.appliance("pop2").loopback is not None


def test_values_are_parsed_once() -> None:
    document = lineup(LINEUP).document
    path = document.spec.channels[0].delivery[0]
    assert path.rate_bps == 1_000_000
    assert document.spec.policy.deadline_ms == 120_000
    assert document.spec.policy.reconcile_ms == 10_000


def test_empty_is_a_line_up() -> None:
    empty = "apiVersion: streamverse.nf/v1\nkind: LineUp\nmetadata: {name: empty}\nspec: {}\n"
    assert lineup(empty).document == LineUp.empty()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "policy:\n",
            "zzz: 1\n  policy:\n",
            (15, 3, "spec.zzz", "", "unknown key", "known: channels, policy, sources"),
        ),
        (
            "group: 232.10.1.1,",
            "group: 232.10.1.1, gruop: 1,",
            (14, 52, "spec.channels[0].delivery[0].gruop", "", "unknown key", "did you mean group?"),
        ),
        (
            "rate: 1M, ",
            "rate: 1M, rate_bps: 5, ",
            (14, 62, "spec.channels[0].delivery[0].rate_bps", "", "unknown key", "did you mean rate?"),
        ),
        (
            "rate: 1M,",
            "rate: 8X,",
            (
                14,
                58,
                "spec.channels[0].delivery[0].rate",
                "8X",
                "a bit rate is a number with k, M or G (bit/s)",
                "write it as 8M or 750k",
            ),
        ),
        (
            "deadline: 2m",
            "deadline: 120",
            (
                16,
                15,
                "spec.policy.deadline",
                "120",
                "a duration is a number with its unit: ms, s, m, h or d",
                "write it as 500ms, 2s or 5m",
            ),
        ),
        (
            "lcn: 101",
            "lcn: true",
            (10, 12, "spec.channels[0].lcn", "true", "must be a whole number", "write digits only, without quotes"),
        ),
        (
            "lcn: 101",
            'lcn: "101"',
            (10, 12, "spec.channels[0].lcn", '"101"', "must be a whole number", "write digits only, without quotes"),
        ),
        ("lcn: 101", "lcn: 0", (10, 12, "spec.channels[0].lcn", "0", "must be at least 1", "change the number")),
        (
            "lcn: 101",
            "lcn: 10000",
            (10, 12, "spec.channels[0].lcn", "10000", "must be at most 9999", "change the number"),
        ),
        (
            "lcn: 101",
            "lcn:",
            (10, 7, "spec.channels[0].lcn", "null", "the key has no value", "write a value, or remove the key"),
        ),
        ("name: Channel One", "name: 5", (9, 13, "spec.channels[0].name", "5", "must be text", "put it in quotes")),
        (
            "232.10.1.1",
            "233.10.1.1",
            (
                14,
                40,
                "spec.channels[0].delivery[0].group",
                "233.10.1.1",
                "a source-specific group is in 232.0.0.0/8 (RFC 4607)",
                "choose one such as 232.10.1.1",
            ),
        ),
        (
            "232.10.1.1",
            "232.128.0.7",
            (
                14,
                40,
                "spec.channels[0].delivery[0].group",
                "232.128.0.7",
                "the low 23 bits may not be 0.0.x: such groups share Ethernet addresses with 224.0.0.x",
                "choose a group outside 232.0.0.0/24 and 232.128.0.0/24",
            ),
        ),
        (
            "232.10.1.1",
            "3893100801",
            (
                14,
                40,
                "spec.channels[0].delivery[0].group",
                "3893100801",
                "must be a multicast group",
                "write 232.10.1.1, or ff3e::8000:1 for IPv6",
            ),
        ),
        (
            "type: ssm",
            "type: sms",
            (14, 28, "spec.channels[0].delivery[0].type", "sms", "no such type of delivery path", "did you mean ssm?"),
        ),
        (
            "type: ssm, ",
            "",
            (14, 11, "spec.channels[0].delivery[0].type", "", "the key is missing", "add type: one of ssm"),
        ),
        (
            "sites: [pop1]",
            "sites: []",
            (14, 62, "spec.channels[0].delivery[0].sites", "", "needs at least 1 of them", "add to it or shorten it"),
        ),
        (
            "sites: [pop1]",
            "sites: [PoP1]",
            (
                14,
                70,
                "spec.channels[0].delivery[0].sites[0]",
                "PoP1",
                "a name is lower-case letters, digits and hyphens, begins with a letter and has at most 39 characters",
                "choose a name such as pop1 or channel-one",
            ),
        ),
        ("      lcn: 101\n", "", (8, 7, "spec.channels[0].lcn", "", "the key is missing", "add lcn:")),
        (
            "metadata: {name: sample}\n",
            "metadata: {}\n",
            (3, 1, "metadata.name", "", "the key is missing", "add name:"),
        ),
        (
            "      lcn: 101\n",
            "      lcn: 101\n      lcn: 102\n",
            (
                11,
                7,
                "spec.channels[0].lcn",
                "",
                "the key stands twice in one mapping, first on line 10",
                "keep one of the two",
            ),
        ),
        (
            'uid: "tag:streamverse.test,2026:ch1"',
            "uid: ch1",
            (
                11,
                12,
                "spec.channels[0].uid",
                "ch1",
                "a uid is a tag URI (RFC 4151)",
                "write it as tag:DOMAIN,YEAR:NAME, such as tag:streamverse.test,2026:ch1",
            ),
        ),
        ("kind: LineUp", "kind: Fleet", (2, 7, "kind", "Fleet", "must be LineUp", "write kind: LineUp")),
        (
            "streamverse.nf/v1",
            "streamverse.nf/v2",
            (
                1,
                13,
                "apiVersion",
                "streamverse.nf/v2",
                "must be streamverse.nf/v1",
                "write apiVersion: streamverse.nf/v1",
            ),
        ),
    ],
)
def test_one_mistake(old: str, new: str, expected: Found) -> None:
    assert changed(old, new) == [expected]


def test_a_list_where_a_mapping_belongs_and_the_other_way_round() -> None:
    assert changed("  policy:\n    deadline: 2m\n", "  policy: [1]\n") == [
        (15, 3, "spec.policy", "", "must be a mapping", "write `key: value` lines below it")
    ]
    assert changed("    - {id: s1, appliance: headend, port: 6001, bitrate: 1M}\n", "    {id: s1}\n") == [
        (5, 3, "spec.sources", "", "must be a list", "write each item on a line of its own, after a hyphen")
    ]
    assert changed("- {id: iptv, type: ssm, group: 232.10.1.1, rate: 1M, sites: [pop1]}", "- iptv") == [
        (
            14,
            11,
            "spec.channels[0].delivery[0]",
            "iptv",
            "a delivery path is a mapping",
            "write {id: ..., type: ..., rate: ...}",
        )
    ]


def test_mistakes_of_a_fleet() -> None:
    text = FLEET.replace("10.1.0.10/24", "10.1.0.10").replace("required", "requierd").replace("c1:eth1", "c1-eth1")
    assert wrong(text, "fleet") == [
        (
            6,
            30,
            "spec.sites[0].criticality",
            "requierd",
            "must be one of: required, optional",
            "did you mean required?",
        ),
        (
            14,
            33,
            "spec.appliances[0].interfaces[0].address",
            "10.1.0.10",
            "must be an IPv4 address with its prefix length",
            "write it as 10.1.0.10/24",
        ),
        (
            16,
            44,
            "spec.links[0].endpoints[1]",
            '"c1-eth1"',
            "an endpoint is APPLIANCE:INTERFACE",
            "write it as pop1:eth1",
        ),
    ]


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        LINEUP.replace("lcn: 101", "lcn: 0\n      lcn: 5")
        .replace("1M, sites", "1X, site")
        .replace("port: 6001", "port: 80")
    )
    found = wrong(text)
    assert [(line, key) for line, _, key, *_ in found] == [
        (6, "spec.sources[0].port"),
        (10, "spec.channels[0].lcn"),
        (11, "spec.channels[0].lcn"),
        (15, "spec.channels[0].delivery[0].sites"),
        (15, "spec.channels[0].delivery[0].rate"),
        (15, "spec.channels[0].delivery[0].site"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (1, 1, "the document is empty", "write apiVersion, kind, metadata and spec")),
        ("# nothing\n", (1, 1, "the document is empty", "write apiVersion, kind, metadata and spec")),
        ("just words", (1, 1, "a document is a mapping", "write apiVersion, kind, metadata and spec")),
        ("a:\n\t- b\n", (2, 1, "a tab indents the line", "indent with spaces")),
        (b"a: 1\nb: \xff\n", (2, 4, "the file is not UTF-8", "save it as UTF-8")),
        ("a: b\x07\n", (1, 5, "a character that YAML does not allow", "remove it")),
        ("a: 1\nb: é\ud800\n", (2, 5, "a character that YAML does not allow", "remove it")),
        (
            "a: b\u2028c\n",
            (1, 5, "an invisible line break (U+2028)", 'remove it, or write "\\u2028" in double quotes'),
        ),
        ("a:\n  b: 1\n\tc: 2\n", (3, 1, "a tab indents the line", "indent with spaces")),
        ("[" * 100, (1, 34, "nested deeper than 32 levels", "flatten it")),
        ("a: 1\n---\nb: 2\n", (2, 1, "a second document in one file", "one document for each file")),
        ("? [a, b]\n: c\n", (1, 3, "a key is a word", "write `key: value`")),
        ("a: *x\n", (1, 4, "the alias *x has no anchor before it", "define &x above, or write the value")),
        ("a: &x [*x]\n", (1, 8, "the alias *x has no anchor before it", "define &x above, or write the value")),
        (
            "a: [1\n",
            (
                2,
                1,
                "not YAML: did not find expected ',' or ']' while parsing a flow sequence that begins on line 1",
                "check the indentation, colons, quotes and brackets on this line and the one before",
            ),
        ),
    ],
)
def test_no_document_at_all(text: str | bytes, expected: tuple[int, int, str, str]) -> None:
    (found,) = wrong(text)
    assert (found[0], found[1], found[4], found[5]) == expected


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (found,) = wrong("\n".join(lines))
    assert found[4:] == ("more than 500000 values, aliases expanded", "split it")
    assert found[0] == 6


SECOND = """\
    - id: ch2
      name: Channel Two
      lcn: 102
      uid: "tag:streamverse.test,2026:ch2"
      source: s1
      delivery:
        - {id: iptv, type: ssm, group: 232.10.1.2, rate: 1M, sites: *all}
  policy:
"""


def test_aliases_of_a_sane_size_are_welcome() -> None:
    text = LINEUP.replace("sites: [pop1]", "sites: &all [pop1]").replace("  policy:\n", SECOND)
    path = lineup(text).document.spec.channels[1].delivery[0]
    assert isinstance(path, SsmPath)
    assert path.sites == ("pop1",)


def test_a_misspelt_key_is_unknown_and_missing() -> None:
    assert changed("lcn: 101", "lnc: 101") == [
        (8, 7, "spec.channels[0].lcn", "", "the key is missing", "add lcn:"),
        (10, 7, "spec.channels[0].lnc", "", "unknown key", "did you mean lcn?"),
    ]


def test_each_site_is_judged_and_the_list_is_not_called_short() -> None:
    found = changed("sites: [pop1]", "sites: [PoP1, _]")
    assert [key for _, _, key, *_ in found] == [f"spec.channels[0].delivery[0].sites[{n}]" for n in (0, 1)]


def test_no_list_around_a_mistake_is_called_short() -> None:
    ports = "access: [{appliance: pop1, lans: [{ports: [{name: eth3, max_channels: 0}]}]}]"
    text = "apiVersion: streamverse.nf/v1\nkind: Fleet\nmetadata: {name: f}\nspec:\n  sites: []\n"
    with pytest.raises(DocumentError) as caught:
        load_fleet(f"{text}  equipment:\n    multicast:\n      {ports}\n".encode(), file="fleet.yaml")
    told = [problem.key for problem in caught.value.problems if "access" in problem.key]
    assert told == ["spec.equipment.multicast.access[0].lans[0].ports[0].max_channels"]


def test_a_custom_tag_is_refused() -> None:
    found = changed("lcn: 101", "lcn: !!python/object:os.system 101")
    assert found[0][2:] == (
        "spec.channels[0].lcn",
        "",
        "the tag tag:yaml.org,2002:python/object:os.system is not used in documents",
        "remove the tag",
    )


def test_too_large_is_refused_unread() -> None:
    (found,) = wrong("#" * (MAX_BYTES + 1))
    assert found[4] == "the file is larger than 4 MiB"


def test_the_list_of_problems_ends_somewhere() -> None:
    found = wrong(LINEUP + "".join(f"k{number}: 1\n" for number in range(MAX_PROBLEMS + 5)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1][4] == "and 5 more problems"


def test_yaml_is_1_2() -> None:
    """In YAML 1.1 `no` was false and 010 was 8."""
    document = lineup(LINEUP.replace("name: Channel One", "name: no").replace("lcn: 101", "lcn: 010")).document
    assert (document.spec.channels[0].name, document.spec.channels[0].lcn) == ("no", 10)


def test_bom_and_crlf_are_no_problem() -> None:
    assert lineup(b"\xef\xbb\xbf" + LINEUP.replace("\n", "\r\n").encode()).document == lineup(LINEUP).document


def test_locate() -> None:
    loaded = lineup(LINEUP)
    assert loaded.locate("spec.channels[0].lcn") == (10, 12)
    assert loaded.locate("spec.channels[0].delivery[0].rate") == (14, 58)
    assert loaded.locate("spec.channels") == (7, 3)
    assert loaded.locate("spec.channels[0]") == (8, 7)
    assert loaded.locate("spec.channels[0].nothing") == (8, 7)
    assert loaded.locate("spec.channels[9].lcn") == (7, 3)
    assert loaded.locate("") == (1, 1)


def test_place_fills_in_what_a_problem_lacks() -> None:
    placed = lineup(LINEUP).place(Problem("no", "yes", key="spec.channels[0].lcn"))
    assert placed == Problem("no", "yes", "lineup.yaml", 10, 12, "spec.channels[0].lcn", "101")
    assert str(placed) == "lineup.yaml:10:12: spec.channels[0].lcn = 101: no -> yes"


def test_a_configuration_round_trips() -> None:
    for config in compiled().configs.values():
        again = load_config(config.to_json(), extensions=REGISTRY)
        assert again == config
        assert again.to_json() == config.to_json()


def test_mistakes_in_a_configuration() -> None:
    data = compiled().configs["c1"].to_json()
    sections = data["sections"]
    assert isinstance(sections, dict)
    sections["fr"] = sections.pop("frr")
    assert isinstance(sections["interfaces"], dict)
    sections["interfaces"]["loopbak"] = "10.255.0.1"
    with pytest.raises(DocumentError) as caught:
        load_config(data, extensions=REGISTRY)
    assert [(p.key, p.rule, p.remedy) for p in caught.value.problems] == [
        ("sections.interfaces.loopbak", "unknown key", "did you mean loopback?"),
        ("sections.fr", "no such section", "did you mean frr?"),
    ]
