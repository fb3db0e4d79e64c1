"""Whatever goes wrong: one clear block, the documented exit code, never a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf import errors
from nf.cli import main as main_module
from nf.errors import CommitRefused, DocumentError, NfError, Problem
from nf.exit_codes import ExitCode, exit_code
from tests.nf.cli.conftest import FakeNoc, Nf

DOCS = Path(__file__).parents[3] / "docs" / "exit-codes.md"

CODES = {
    "NfError": 1,
    "InputError": 2,
    "DocumentError": 2,
    "RefusedError": 3,
    "CommitRefused": 3,
    "BusyError": 8,
    "ConflictError": 8,
    "NotFoundError": 7,
    "IdentityError": 6,
    "DeniedError": 6,
    "UnavailableError": 5,
    "DeadlineError": 5,
    "StorageError": 10,
    "CancelledError": 130,
    "DriverError": 1,
    "IntegrityError": 9,
}


def tree(root: type[NfError]) -> list[type[NfError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


def test_every_error_of_the_tree_has_its_code() -> None:
    made = {
        kind.__name__: exit_code(kind.__new__(kind)) for kind in tree(NfError) if kind.__module__ == errors.__name__
    }
    assert made == CODES


def test_the_documentation_lists_every_code_and_no_other() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}


def test_all_problems_are_shown_with_place_value_rule_and_remedy(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListRevisions"] = DocumentError(
        [
            Problem("is taken by ch1", "choose another", "line up.yaml", 14, 9, "spec.channels[2].lcn", "101"),
            Problem("no such site", "add it to the fleet", "line up.yaml", 20, 3, "spec.channels[2].sites[0]", "pop9"),
            Problem("is offline", "bring it back", key="pop1"),
        ],
        where="line up.yaml",
    )
    answer = nf("lineup", "history")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "error: line up.yaml: 3 problems found",
        "  line up.yaml:14:9  spec.channels[2].lcn = 101",
        "    is taken by ch1",
        "    do: choose another",
        "  line up.yaml:20:3  spec.channels[2].sites[0] = pop9",
        "    no such site",
        "    do: add it to the fleet",
        "  pop1: is offline",
        "    do: bring it back",
    ]


def test_with_json_the_error_is_json_on_stderr(nf: Nf, noc: FakeNoc) -> None:
    problem = Problem("is offline", "bring it back", key="pop1")
    noc.answers["ListRevisions"] = CommitRefused("refused", where="fleet", remedy="look", problems=[problem])
    answer = nf("lineup", "history", "--json")
    assert (answer.code, answer.out) == (3, "")
    assert answer.error() == {
        "kind": "CommitRefused",
        "status": "FAILED_PRECONDITION",
        "message": "refused",
        "where": "fleet",
        "remedy": "look",
        "retryable": False,
        "exit_code": 3,
        "problems": [
            {
                "file": "",
                "line": 0,
                "column": 0,
                "key": "pop1",
                "value": "",
                "rule": "is offline",
                "remedy": "bring it back",
            }
        ],
    }


def test_markup_in_foreign_text_stays_text(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListRevisions"] = NfError("[red]x[/nope]", remedy=":smile: [bold]")
    assert nf("lineup", "history").err == "error: [red]x[/nope]\n  do: :smile: [bold]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("lineup", "commit"),
        ("linup",),
        ("channel", "show", "ch1", "--nope"),
        ("lineup", "show", "minus-one"),
        ("alarms", "--interval", "0"),
    ],
)
def test_wrong_use_is_code_2_and_names_the_help(nf: Nf, arguments: tuple[str, ...]) -> None:
    answer = nf(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("error: nf")
    assert "--help` lists what it takes" in answer.err
    assert "Traceback" not in answer.err


def test_a_slip_of_the_pen_is_answered_with_the_right_word(nf: Nf) -> None:
    assert "Did you mean 'lineup'" in nf("linup").err


def test_wrong_use_with_json(nf: Nf) -> None:
    answer = nf("appliance", "list", "--json", "--nope")
    assert answer.code == 2
    assert answer.error()["kind"] == "InputError"


def test_what_needs_root_says_so(nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/var/lib/nf")

    monkeypatch.setattr("nf.cli.client.load_profile", closed)
    answer = nf("lineup", "history")
    assert answer.code == ExitCode.DENIED
    assert answer.err.splitlines() == ["error: /var/lib/nf: permission denied", "  do: run it as root (sudo)"]


def test_a_fault_of_ours_leaves_a_private_report_and_no_traceback(
    nf: Nf, noc: FakeNoc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("deep\nin the code")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nf.cli.client.load_profile", broken)
    answer = nf("lineup", "history")
    assert answer.code == 1
    assert answer.err.startswith("error: internal error: KeyError: ")
    assert "Traceback" not in answer.err
    (report,) = tmp_path.glob("nf-crash-*.txt")
    assert str(report) in answer.err
    assert report.stat().st_mode & 0o077 == 0
    assert "Traceback" in report.read_text()
    assert "arguments: ['lineup', 'history']" in report.read_text()


def test_an_error_of_ours_in_a_group_is_shown_as_itself(nf: Nf, noc: FakeNoc, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ExceptionGroup("tasks", [ValueError(), ExceptionGroup("more", [errors.BusyError("held by anna")])])

    monkeypatch.setattr("nf.cli.client.load_profile", broken)
    answer = nf("lineup", "history")
    assert (answer.code, answer.err) == (8, "error: held by anna\n")


def test_ctrl_c_is_130_and_silent(nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "_run", interrupted)
    assert (nf("version").code, nf("version").err) == (130, "")


def test_a_reader_that_goes_away_is_no_error_text() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nf.cli.main", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert (process.returncode, complaint) == (141, b"")


def test_a_noc_that_is_not_there(nf: Nf, noc: FakeNoc, tmp_path: Path, profile: Path) -> None:
    for file in profile.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).chmod(0o600)
    (tmp_path / "profile.json").write_text('{"noc": "localhost:1"}')
    answer = nf("appliance", "list", "--profile", str(tmp_path))
    assert answer.code == 5
    assert answer.err.startswith("error: NOC at localhost:1: ")
    assert "nf noc run" in answer.err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("lineup", "commit", "x.yaml", "--at"), "nf lineup commit"),
        (("--profile", "p", "alarms", "shelve", "a", "--for"), "nf alarms shelve"),
        (("--profile",), "nf"),
    ],
)
def test_an_option_without_its_value_names_the_command(nf: Nf, words: tuple[str, ...], command: str) -> None:
    answer = nf(*words)
    assert answer.code == 2
    assert f"error: {command}: " in answer.err
    assert f"`{command} --help`" in answer.err


def test_ctrl_c_while_the_command_is_being_loaded_is_quiet() -> None:
    code = (
        "import builtins, sys; load = builtins.__import__\n"
        "def stop(name, *rest):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = stop; from nf.cli.entry import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_help_is_quick_because_it_loads_neither_grpc_nor_documents() -> None:
    code = (
        "import sys; from nf.cli.main import main; code = main(['--help']);"
        "heavy = {'grpc', 'pydantic', 'pyroute2', 'google.protobuf', 'ruamel.yaml', 'yaml', 'cryptography'};"
        "heavy &= set(sys.modules);"
        "print('HEAVY', sorted(heavy), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lineup" in done.stdout
    assert "HEAVY []" in done.stderr


def test_colours_only_where_a_person_looks(nf: Nf) -> None:
    assert "\x1b" not in nf("linup").err


@pytest.mark.parametrize(
    ("redirect", "command", "code"),
    [
        (">&-", "version", 0),
        ("2>&-", "bogus", 2),
        (">/dev/full", "version", 10),
        (">/dev/full 2>/dev/full", "schema", 10),
        (">/dev/null 2>/dev/full", "bogus", 2),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code_and_show_no_traceback(
    redirect: str, command: str, code: int
) -> None:
    shell = f'exec "$0" -m nf.cli.main {command} {redirect}'
    done = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("columns", ["abc", "0", "-5", ""])
def test_a_width_that_is_none_is_not_taken(nf: Nf, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert (nf("version").code, nf("version").err) == (0, "")


WORDS = [
    *("lineup", "check", "plan", "show", "diff", "history", "appliance", "list", "channel", "alarms", "audit"),
    *("verify", "override", "end", "schema", "version", "operator", "--json", "--fleet", "--profile", "--state-dir"),
    *("--", "-", "", "0", "-1", "99999999999999999999", "nan", "1e9", "{}", "pop1", "\u00df\u2603", "/dev/null", "/"),
    *("/proc/nonexistent", "a" * 5000, "-n", "--to", "--help", "--interval", "\udcff"),
]


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_end_with_a_documented_code_and_never_as_a_fault_of_ours(nf: Nf, words: list[str]) -> None:
    answer = nf(*words)
    assert answer.code in set(ExitCode)
    assert "internal error" not in answer.err
    assert "Traceback" not in answer.out + answer.err
