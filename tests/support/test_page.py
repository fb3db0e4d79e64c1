from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.page import Bindings, Command, PageError, read_page

PAGE = """# A page

## 1. First

Text with `inline $ nothing`.

```console
$ do it --now
started as 0123abcd at 2026-11-23 10:00:00
...
done: revision 3
$ fail
error: no
$ echo $?
3
```

```yaml
$ref: no command, since no space follows
```

## 2. Second

```console
pop1$ look at 0123abcd
```
"""


def test_a_page_is_its_tasks_blocks_and_commands() -> None:
    first, second = read_page(PAGE)
    ((do, fail),) = first.blocks
    assert (first.number, first.title, do.node, do.text, do.code) == (1, "First", "", "do it --now", 0)
    assert do.shown == ("started as 0123abcd at 2026-11-23 10:00:00", "...", "done: revision 3")
    assert (fail.text, fail.code, fail.shown) == ("fail", 3, ("error: no",))
    assert (second.blocks[0][0].node, second.blocks[0][0].shown) == ("pop1", ())


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ before the first task\n```\n",
        "## 1. One\n$ loose\n",
        "## 1. One\n```sh\n$ other\n```\n",
        "    $ indented\n",
    ],
)
def test_a_command_that_nobody_would_execute_is_an_error(text: str) -> None:
    with pytest.raises(PageError):
        read_page(text)


def shows(bindings: Bindings, shown: str, output: str) -> bool:
    try:
        bindings.compare(Command(1, "", "c", tuple(shown.splitlines())), output)
    except PageError:
        return False
    return True


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nd\n", True),
        ("a\n...", "a\n", True),
        ("...\nd", "a\nd\ne\n", False),
        ("a", "a\nb\n", False),
        ("a\nb", "a\n", False),
        ("", "a\n", False),
        ("", "\n", True),
        ("x   1   ...   y", "x 1 anything at all y", True),
        ("────  ", "──────────", True),
        ("at 2026-11-23 10:00:00", "at 2031-01-01 00:00:59", True),
        ("at 2026-11-23 10:00:00", "at noon", False),
        ("(.*)", "anything", False),
    ],
)
def test_what_is_shown_is_compared_with_what_came(shown: str, output: str, *, same: bool) -> None:
    assert shows(Bindings(), shown, output) is same


def test_ids_and_revisions_are_those_of_the_day_and_stay_what_they_are() -> None:
    bindings = Bindings()
    assert shows(bindings, "started as 0123abcd, revision 3", "started as deadbeef, revision 17")
    assert bindings.command("stop 0123abcd") == "stop deadbeef"
    assert shows(bindings, "revision 3", "revision 17")
    assert not shows(bindings, "revision 3", "revision 18")
    assert not shows(bindings, "...\n0123abcd", "01010101\n")
    assert shows(bindings, "...\n0123abcd", "01010101\ndeadbeef\n")


def test_every_task_of_the_day_in_the_noc_has_its_test() -> None:
    root = Path(__file__).parents[2]
    tasks = read_page((root / "docs/operating.md").read_text())
    tests = re.findall(r"^def test_(\d\d)_", (root / "tests/interop/test_operating.py").read_text(), re.MULTILINE)
    assert [int(number) for number in tests] == [task.number for task in tasks] == list(range(1, 13))
    assert all(task.blocks for task in tasks)
