"""Model files: those that come with the software, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.devices.mib import read_mibs
from headend.devices.modelfile import find_model, load_directory, load_model, load_models
from nf.errors import DocumentError, NotFoundError
from tests.headend.devices.test_set import MODEL
from tests.support.snmp import REPOSITORY

LAB = ("nf-lab-encoder", "nf-lab-modem", "nf-lab-mux", "nf-lab-receiver")


def test_models_that_come_with_the_software() -> None:
    assert set(load_models()) == {
        *LAB, "arris-dsr4410md", "cisco-d9854", "pbi-dch-ird", "teleste-luminato", "terra-sdi480", "uhp-vsat",
    }  # fmt: skip


@pytest.mark.parametrize("name", LAB)
def test_the_labs_models_are_what_its_mib_says(name: str) -> None:
    mib = read_mibs(REPOSITORY / "lab" / "devices" / "mibs")
    for key, parameter in find_model(name).parameters.items():
        for oid in {parameter.oid, parameter.write_oid or parameter.oid}:
            item = mib[oid if "." in key else oid.removesuffix(".0")]
            assert item.readable
            assert (item.index is not None) == ("." in key)
            numbers = {number for number in parameter.enum.values() if isinstance(number, int)}
            if item.enum and parameter.access.value != "command":
                assert numbers == set(item.enum.values()), key
        written = mib[
            (parameter.write_oid or parameter.oid) if "." in key else (parameter.write_oid or parameter.oid)[:-2]
        ]
        assert written.writable == parameter.writable, key


def test_every_object_of_the_labs_mib_is_in_a_model() -> None:
    mib = read_mibs(REPOSITORY / "lab" / "devices" / "mibs")
    models = [find_model(name) for name in LAB]
    known = {p.oid.removesuffix(".0") for model in models for p in model.parameters.values()}
    known |= {(p.write_oid or p.oid).removesuffix(".0") for model in models for p in model.parameters.values()}
    known |= {apply.oid.removesuffix(".0") for model in models for apply in model.spec.applies.values()}
    known |= {probe.oid.removesuffix(".0") for model in models for probe in model.spec.identify}
    assert {item.name for item in mib.values() if item.readable and item.oid not in known} == set()


def told(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_model(text, file="bent.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "scale: 0.1, unit: dBm",
            "scale: ten, unit: dBm",
            "bent.yaml:17:77: spec.parameters.level.scale = ten: must be a number -> ",
        ),
        ("access: rw, syntax: integer, scale", "acess: rw, syntax: integer, scale", "did you mean access?"),
        ("1.3.6.1.4.1.99999.2.0", ".1.3.6.1.4.1.99999.2.0", "an OID is numbers with dots"),
        ("maximum: 0.0}", "maximum: -60.0}", "the minimum is above the maximum -> swap them"),
        ('enum: {"off": 1, "on": 2}', 'enum: {"off": 1, "on": 1}', "two names stand for one wire value"),
        ("enum: {now: 1}", "enum: {now: one}", "a number's enum has numbers"),
        ("apply: carrier}", "apply: carier}", "no such apply group in spec.applies -> did you mean carrier?"),
        ("watch: lock,", "watch: look,", "no such parameter -> did you mean lock?"),
        ("expect: {equals: locked}", "expect: {equals: locked, at_least: 1}", "needs exactly one of equals"),
        ("[service.rate], watch", "[frequency], watch", "it is a table's: nothing says which row is meant"),
        ("[frequency], needs", "[lock], needs", "the parameter is read-only -> name one that can be set"),
        ("access: command", "access: wo", "a write-only object can lie, and nothing proves it"),
        ("service.actual: {", "servis.actual: {", "no such table -> did you mean service?"),
        ('command: "profile {value}"', 'command: "profile {number}"', "needs a command with nothing in braces"),
        ("syntax: gauge32, unit: kHz", "syntax: gauge32, encoding: mac", "this encoding is one of octets"),
        ("{oid: 1.3.6.1.4.1.99999.1.0, present: true}", "{oid: 1.3.6.1.4.1.99999.1.0}", "needs one of equals, matches"),
        ("{oid: 1.3.6.1.4.1.99999.1.0, present: true}", '{oid: 1.3.6.1.4.1.99999.1.0, matches: "("}', "no regular"),
        ("index: [integer]}", "index: [implied_oid, integer]}", "only the last index object can be without its length"),
        ("index: [integer]}", "subtrees: 3}", "needs one # where the row's number stands"),
        ("1.3.6.1.4.1.99999.4.0", "1.3.6.1.4.1.99999.#.0", "only subtrees have a # in their OID"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_place_rule_and_remedy(old: str, new: str, line: str) -> None:
    assert old in MODEL
    problems = told(MODEL.replace(old, new))
    assert any(line in problem for problem in problems), problems
    assert all(problem.startswith("bent.yaml:") and " -> " in problem for problem in problems)


def test_all_problems_at_once() -> None:
    text = MODEL.replace("kind: modulator", "kind: modulater").replace("dBm,", "dBm, colour: red,")
    assert len(told(text)) == 2


def test_two_files_with_one_name(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(MODEL)
    with pytest.raises(DocumentError) as caught:
        load_directory(tmp_path)
    assert "two files have this name" in str(caught.value.problems[0])


def test_a_directory_of_an_operators_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(MODEL)
    assert list(load_directory(tmp_path)) == ["bent"]


def test_a_model_that_nobody_knows() -> None:
    with pytest.raises(NotFoundError, match="nf-lab-modem"):
        find_model("nf-lab-modm")
