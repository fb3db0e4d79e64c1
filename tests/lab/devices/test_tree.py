"""The rules of a SET, without a wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.devices.objects import SPECS, Syntax, Value
from lab.devices.settings import Settings
from lab.devices.tree import Refusal, Request, SetRefusedError, Tree

LEVEL, PORT, NAME, ADDRESS = "ModTxLevel", "ModInputPort", "EncName", "ModInputAddress"


@pytest.fixture
def tree() -> Tree:
    readers = {name: (lambda _: 0) for name in (LEVEL, PORT, ADDRESS, "ModEirp")} | {NAME: lambda row: f"channel {row}"}
    return Tree.of(readers, {"Enc": (1, 2)}, {})


def request(name: str, value: Value, syntax: Syntax | None = None, row: int = 0) -> Request:
    return Request(SPECS[name].row_oid(row), frozenset({syntax or SPECS[name].syntax}), value)


def test_a_set_that_fits_becomes_changes(tree: Tree) -> None:
    wanted = [request(LEVEL, -100), request(NAME, b"News", row=2), request(ADDRESS, b"\xef\x01\x02\x03")]
    assert tree.changes(wanted) == {(LEVEL, 0): -100, (NAME, 2): "News", (ADDRESS, 0): "239.1.2.3"}


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        (request(LEVEL, 201), Refusal.WRONG_VALUE),
        (request(LEVEL, -501), Refusal.WRONG_VALUE),
        (request(PORT, 5000, Syntax.INTEGER), Refusal.WRONG_TYPE),
        (request(PORT, 80), Refusal.WRONG_VALUE),
        (request(NAME, b"", row=1), Refusal.WRONG_LENGTH),
        (request(NAME, b"n" * 33, row=1), Refusal.WRONG_LENGTH),
        (request(NAME, "Größe".encode(), row=1), Refusal.WRONG_VALUE),
        (request(NAME, b"News", row=3), Refusal.NO_CREATION),
        (request(ADDRESS, b"\xef\x01\x02"), Refusal.WRONG_LENGTH),
        (request("ModEirp", 1), Refusal.NOT_WRITABLE),
    ],
)
def test_a_set_that_does_not_fit_names_its_variable(tree: Tree, bad: Request, refusal: Refusal) -> None:
    with pytest.raises(SetRefusedError) as refused:
        tree.changes([request(LEVEL, 0), bad])
    assert (refused.value.refusal, refused.value.index) == (refusal, 1)


def test_variables_follow_one_another(tree: Tree) -> None:
    place, seen = (1,), []
    while (found := tree.after(place)) is not None:
        place = found[0]
        seen.append(place)
    assert seen == sorted(seen)
    assert len(seen) == 6
    assert tree.get(seen[0]) is not None
    assert tree.get((1, 3)) is None


def test_what_was_set_lasts(tmp_path: Path) -> None:
    path = tmp_path / "state" / "settings.json"
    Settings({(LEVEL, 0): -100, (NAME, 1): "One"}, path).update({(LEVEL, 0): -90})
    again = Settings({(LEVEL, 0): -100, (NAME, 1): "Two"}, path)
    assert (again.number(LEVEL), again.text(NAME, 1)) == (-90, "One")
