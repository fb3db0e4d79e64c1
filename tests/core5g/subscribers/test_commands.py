"""`nf subscriber` as a person calls it, on a live database; and that no key is in anything it says or logs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core5g.subscribers import bulk
from core5g.subscribers.place import DatabaseAddress, DatabaseCredentials, scope_of
from core5g.subscribers.scope import Scope
from nf.errors import DeniedError, InputError, IntegrityError
from tests.core5g.subscribers.conftest import Answer, Nf, Open
from tests.core5g.subscribers.support import CORE, MVNO, OP, OPC, Server, csv_text, imsi, key, opc, table

SEAL = "7e" * 32


@pytest.fixture
def nf(nf: Nf, caplog: pytest.LogCaptureFixture) -> Iterator[Nf]:
    """As it is, and whatever it says is searched for keys."""
    said: list[str] = []

    def run(*arguments: str) -> Answer:
        answer = nf(*arguments)
        said.append(answer.everything + caplog.text)
        return answer

    yield run
    text = "".join(said).lower()
    for number in range(1, 12):
        for secret in (key(number), opc(number)):
            assert secret not in text
            assert secret[:12] not in text
            assert secret[-12:] not in text
    for secret in (OP, OPC, SEAL):
        assert secret not in text


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return private(tmp_path / "keys.json", json.dumps({"k": key(1), "op": OP}))


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def table_file(path: Path, numbers: range, plmn: str = "99970") -> Path:
    return private(path, csv_text(table(numbers, plmn)))


def test_a_subscribers_life(nf: Nf, keys_file: Path, server: Server, opened: Open) -> None:
    answer = nf("add", imsi(1), "msisdn=491511", "2.dnn=ims", "2.5qi=5", "--keys", str(keys_file))
    assert (answer.code, answer.out) == (0, f"{imsi(1)} is there\n")
    stored = opened(server).find(imsi(1))
    assert stored is not None
    assert stored["security"] == {"k": key(1), "op": None, "opc": opc(1), "amf": "8000", "sqn": 0}

    shown = nf("show", imsi(1), "--json").json()
    assert [(one["dnn"], one["5qi"]) for one in shown["sessions"]] == [("internet", 9), ("ims", 5)]
    assert "security" not in shown
    assert "491511" in nf("show", imsi(1)).out

    assert nf("add", imsi(1), "--keys", str(keys_file)).code == 8
    answer = nf("set", imsi(1), "ipv4=10.45.0.9", "msisdn=", "2.downlink=64k", "--json")
    assert answer.json()["changed"] == ["msisdn", "slice"]
    assert answer.json()["sessions"][0]["ipv4"] == "10.45.0.9"
    assert "it is so already" in nf("set", imsi(1), "ipv4=10.45.0.9").out
    assert nf("set", imsi(1), "status=barred").code == 0
    assert nf("list", "--barred", "--json").json()["total"] == 1

    refused = nf("remove", imsi(1))
    assert (refused.code, refused.err.splitlines()[-1].strip()) == (2, "do: add --yes")
    assert nf("remove", imsi(1), "--yes").out.startswith("1 removed")
    assert nf("show", imsi(1)).code == 7
    assert nf("remove", imsi(1), "--yes").code == 7


def test_a_new_sim(nf: Nf, tmp_path: Path, keys_file: Path, server: Server, opened: Open) -> None:
    nf("add", imsi(1), "--keys", str(keys_file), "sqn=4096")
    other = private(tmp_path / "other.json", json.dumps({"k": key(2), "opc": opc(2)}))
    answer = nf("set", imsi(1), "--keys", str(other), "--json")
    assert answer.json()["changed"] == ["keys"]
    stored = opened(server).find(imsi(1))
    assert stored is not None
    assert (stored["security"]["k"], stored["security"]["sqn"]) == (key(2), 4096)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("set", imsi(1), f"k={key(1)}"), 2, "a key does not belong on a command line"),
        (("set", imsi(1), f"{key(1)}=1"), 2, "no such column"),
        (("show", key(1)), 6, "[removed]: this IMSI is not of PLMN"),
        (("show", imsi(1), "--plmn", key(1)), 2, "--plmn [removed]: not a PLMN"),
        (("set", imsi(1), "sqn=0"), 2, "the sequence number belongs to SIM and network"),
        (("set", imsi(1)), 2, "nothing to change"),
        (("set", imsi(1), "ipv4"), 2, "a change is COLUMN=VALUE"),
        (("set", imsi(1), "status=barred"), 7, "there is no such subscriber"),
        (("add", imsi(1)), 2, "the keys of the SIM are missing"),
        (("show", imsi(1, "99971")), 6, "this IMSI is not of PLMN 999-70"),
        (("show", imsi(1), "--plmn", "99971"), 6, "this IMSI is not of PLMN 999-71"),
        (("show", imsi(1), "--plmn", "nine"), 2, "not a PLMN"),
        (("show", imsi(1, "99972"), "--plmn", "999-72"), 3, "the core serves PLMN 999-70 and 999-71 only"),
        (("list", "--database", f"mongodb://u:{key(1)}@h/x"), 2, "there is a password in it"),
        (("import", "/nonexistent.csv"), 2, "cannot be read"),
    ],
)
def test_what_is_refused(nf: Nf, arguments: tuple[str, ...], code: int, text: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    answer = nf(*arguments)
    assert answer.code == code
    assert text in answer.err.replace("\n", " ")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"ki": "x"}', json.dumps({"k": key(1)}), json.dumps({"k": key(1)[:-1], "opc": opc(1)})],
)
def test_files_of_keys_that_are_none(nf: Nf, tmp_path: Path, text: str) -> None:
    answer = nf("add", imsi(1), "--keys", str(private(tmp_path / "keys.json", text)), "--json")
    assert answer.code == 2
    assert answer.error()["remedy"] or answer.error()["problems"][0]["remedy"]


def test_a_file_of_keys_that_others_can_read_is_refused(nf: Nf, keys_file: Path) -> None:
    keys_file.chmod(0o644)
    assert nf("add", imsi(1), "--keys", str(keys_file)).code == 9


def test_keys_from_stdin(nf: Nf, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"k": key(3), "opc": opc(3)}).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert nf("add", imsi(3), "--keys", "-").code == 0


def test_import_list_and_export(nf: Nf, tmp_path: Path) -> None:
    file = table_file(tmp_path / "subs.csv", range(1, 8))
    assert "each right by itself" in nf("import", str(file), "--check").out
    assert nf("import", str(file), "--check", "--json").json()["subscribers"] == 7
    assert nf("list", "--json").json()["total"] == 0
    answer = nf("import", str(file), "--batch", "3", "--json")
    assert answer.json()["added"] == 7
    assert answer.err == ""
    page = nf("list", "--limit", "3", "--json").json()
    assert (len(page["subscribers"]), page["total"], page["next"]) == (3, 7, imsi(3))
    assert nf("list", "--limit", "3", "--after", imsi(6), "--json").json()["next"] is None
    text = nf("list", "--limit", "2", "--dnn", "internet").out
    assert f"2 of 7 subscribers of PLMN 999-70; next: --after {imsi(2)}" in text

    rows = list(csv.DictReader(io.StringIO(nf("export").out)))
    assert [row["imsi"] for row in rows] == [imsi(number) for number in range(1, 8)]
    assert "k" not in rows[0]
    for name in ("all.csv", "all.json"):
        out = tmp_path / name
        assert "without keys" in nf("export", str(out)).out
        assert out.stat().st_mode & 0o777 == 0o600
        assert not any(secret in out.read_text() for number in range(1, 8) for secret in (key(number), opc(number)))
        assert nf("import", str(out), "--existing", "change", "--json").json()["unchanged"] == 7
        assert nf("export", str(out)).code == 3


def test_progress_is_a_bar_on_a_terminal_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with bulk._progress(1000) as progress:
            for through in (0, 500, 1000):
                progress(through)
        assert ("1000/1000" in stream.getvalue()) is shown


def test_a_bad_line_is_told_as_json_too(nf: Nf, tmp_path: Path) -> None:
    lines = table(range(1, 8))
    lines[4][1] = key(4)[:-1]
    lines[5][3], lines[5][1] = key(5), "491511"
    file = private(tmp_path / "subs.csv", csv_text(lines))
    answer = nf("import", str(file), "--json")
    assert answer.code == 2
    found = [(one["line"], one["column"], one["key"], one["value"]) for one in answer.error()["problems"]]
    assert found == [(5, 17, "k", ""), (6, 17, "k", ""), (6, 57, "msisdn", "[removed]")]
    assert f"{file}:5:17  k" in nf("import", str(file)).err
    assert nf("list", "--json").json()["total"] == 0


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir(mode=0o700)
    private(directory / "sim-seal", SEAL)
    private(directory / "other-seal", "6b" * 32)
    return directory


@pytest.mark.parametrize("form", ["csv", "json"])
def test_sealed_at_rest_and_imported(  # noqa: PLR0917  # fixtures
    nf: Nf, tmp_path: Path, secrets: Path, form: str, server: Server, opened: Open
) -> None:
    clear, sealed = tmp_path / f"clear.{form}", tmp_path / f"sealed.{form}"
    if form == "csv":
        table_file(clear, range(1, 4))
    else:
        people = [{"imsi": imsi(n), "security": {"k": key(n), "op": OP}} for n in range(1, 4)]
        private(clear, json.dumps(people))
    with_secrets = ("--secrets", str(secrets))
    assert "sealed with the key" in nf("seal", str(clear), str(sealed), *with_secrets).out
    assert sealed.stat().st_mode & 0o777 == 0o600
    text = sealed.read_text().lower()
    assert not any(secret in text for n in range(1, 4) for secret in (key(n), opc(n), OP))

    for extra, told in (
        ((), "no sealing key is here"),
        (("--seal-key", "secret:other-seal"), "it is sealed with the key"),
    ):
        answer = nf("import", str(sealed), *extra, *with_secrets)
        assert answer.code == 2
        assert told in answer.err
    assert nf("import", str(sealed), "--seal-key", "secret:sim-seal", *with_secrets).code == 0
    stored = opened(server).find(imsi(2))
    assert stored is not None
    assert (stored["security"]["k"], stored["security"]["opc"]) == (key(2), opc(2))
    assert nf("seal", str(clear), str(sealed), *with_secrets).code == 3
    assert nf("seal", str(sealed), str(tmp_path / "again"), *with_secrets).code == 0


def test_sealing_a_bad_file_writes_nothing(nf: Nf, tmp_path: Path, secrets: Path) -> None:
    lines = table(range(1, 4))
    lines[2][1] = lines[2][1][:-1]
    answer = nf(
        "seal",
        str(private(tmp_path / "x.csv", csv_text(lines))),
        str(tmp_path / "y"),
        "--secrets",
        str(secrets),
        "--json",
    )
    assert [(one["line"], one["key"]) for one in answer.error()["problems"]] == [(3, "k")]
    assert not (tmp_path / "y").exists()


def test_an_mvno_has_its_own(nf: Nf, tmp_path: Path) -> None:
    assert nf("import", str(table_file(tmp_path / "a.csv", range(1, 4)))).code == 0
    mvno = table_file(tmp_path / "b.csv", range(1, 3), "99971")
    assert nf("import", str(mvno)).code == 2
    assert nf("import", str(mvno), "--plmn", "999-71").code == 0
    assert nf("list", "--plmn", "999-71", "--json").json()["total"] == 2
    assert nf("list", "--json").json()["total"] == 3
    assert nf("remove", imsi(1, "99971"), imsi(1), "--plmn", "99971", "--yes").code == 6
    assert nf("list", "--plmn", "999-71", "--json").json()["total"] == 2


def test_credentials_that_are_for_one_plmn(tmp_path: Path) -> None:
    private(tmp_path / "mvno-db", '{"user": "u", "password": "p", "plmn": "999-71"}')
    address = DatabaseAddress.parse("mongodb://secret:mvno-db@10.1.0.30:27017/open5gs?replicaSet=rs0", "test")
    assert (address.uri, address.name) == ("mongodb://10.1.0.30:27017/?replicaSet=rs0", "open5gs")
    credentials = DatabaseCredentials.read(address.secret, tmp_path)
    assert "p'" not in repr(credentials)
    assert scope_of(None, credentials, CORE) == scope_of("99971", credentials, CORE) == MVNO
    with pytest.raises(DeniedError, match="your credentials are for PLMN 999-71"):
        scope_of("999-70", credentials, CORE)
    assert scope_of(None, DatabaseCredentials(), CORE) == Scope("999", "70")
    with pytest.raises(InputError):
        scope_of(None, DatabaseCredentials(), None)


def test_credentials_are_those_that_open5gs_has(tmp_path: Path) -> None:
    private(tmp_path / "core5g-db", "open5gs:a:b/c\n")
    assert DatabaseCredentials.read("secret:core5g-db", tmp_path) == DatabaseCredentials("open5gs", "a:b/c")


@pytest.mark.parametrize(
    "text", ["", "x", "[]", ":sesame", "a:sesame\nb", "{sesame", '{"user": 1, "password": "sesame"}']
)
def test_credentials_that_are_none_are_not_quoted(tmp_path: Path, text: str) -> None:
    private(tmp_path / "db", text)
    with pytest.raises(IntegrityError) as caught:
        DatabaseCredentials.read("secret:db", tmp_path)
    assert "sesame" not in str(caught.value)


def test_columns_are_completed(nf: Nf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from nf.cli.main import main

    monkeypatch.setenv("_NF_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "nf subscriber set 1 2.d")
    monkeypatch.setenv("COMP_CWORD", "4")
    main([])
    assert capsys.readouterr().out.split() == ["2.dnn=", "2.downlink="]


@pytest.mark.parametrize("command", ["list", "show", "add", "set", "remove", "import", "export", "seal"])
def test_every_command_has_help(nf: Nf, command: str) -> None:
    answer = nf(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "--json" in answer.out
