"""`nf-li lemf`: the process by its command, and what it received, as people and programs read it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lawful_intercept.lemf.commands import app
from lawful_intercept.lemf.index import JOURNAL
from lawful_intercept.lemf.settings import LemfSettings
from nf.errors import IntegrityError
from tests.lawful_intercept.lemf.parts import (
    AT_NS,
    Certificates,
    Delivery,
    media,
    messages,
    open_store,
    settings,
)

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("li"))


def written(tmp_path: Path, chosen: LemfSettings) -> str:
    path = tmp_path / "lemf.yaml"
    path.write_text(yaml.safe_dump(chosen.model_dump(mode="json", by_alias=True, exclude_none=True)))
    path.chmod(0o600)
    return str(path)


def filled(tmp_path: Path, certificates: Certificates, *, whole: bool = True) -> tuple[LemfSettings, str]:
    chosen = settings(tmp_path, certificates)
    store = open_store(chosen)
    store.take(2, AT_NS, messages())
    cc = media([b"\x80" * 160] * 10)
    store.take(3, AT_NS, cc if whole else cc[:3] + cc[5:])
    store.close()
    return chosen, written(tmp_path, chosen)


def asked(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_sessions_show_play_export_verify(tmp_path: Path, certificates: Certificates) -> None:
    chosen, config = filled(tmp_path, certificates)
    assert "CASE-1" in asked("sessions", "--config", config)
    (session,) = json.loads(asked("sessions", "--config", config, "--json"))
    assert (session["liid"], session["cin"], session["ended"]) == ("CASE-1", 7, True)
    assert "INVITE sip:bob@example.org" in asked("show", "1", "--config", config)
    shown = json.loads(asked("show", "1", "--config", config, "--json"))
    assert [one["type"] for one in shown["iri"]] == ["begin", "end"]
    wav = tmp_path / "wav"
    assert "from-target" in asked("play", "1", "--config", config, "--into", str(wav))
    assert json.loads(asked("play", "1", "--config", config, "--into", str(wav), "--json"))["streams"][0]["lost"] == 0
    package = str(tmp_path / "one.zip")
    assert "files" in asked("export", "1", "--config", config, "--to", package)
    assert "made by the authority" in asked("verify", package, "--authority", str(chosen.tls.authority))
    assert "12 records" in asked("verify", "--config", config)
    assert json.loads(asked("verify", "--config", config, "--json"))["whole"] is True


def test_what_is_missing_is_told_by_the_exit_code(tmp_path: Path, certificates: Certificates) -> None:
    _, config = filled(tmp_path, certificates, whole=False)
    assert "incomplete: sessions 1" in asked("verify", "--config", config, code=1)
    assert "2 missing 3-4" in asked("show", "1", "--config", config)


def test_a_changed_octet_of_the_store_is_found(tmp_path: Path, certificates: Certificates) -> None:
    chosen, config = filled(tmp_path, certificates)
    octets = bytearray((chosen.state / JOURNAL).read_bytes())
    octets[len(octets) // 2] ^= 1
    (chosen.state / JOURNAL).write_bytes(octets)
    with pytest.raises(IntegrityError, match="record") as told:
        asked("verify", "--config", config)
    assert "CASE" not in str(told.value)


def test_a_package_of_another_authority(tmp_path: Path, certificates: Certificates) -> None:
    _, config = filled(tmp_path, certificates)
    package = str(tmp_path / "one.zip")
    asked("export", "1", "--config", config, "--to", package)
    other = Certificates(tmp_path / "other", "other.example")
    assert "NOT made" in asked("verify", package, "--authority", str(other.lemf.authority), code=1)


async def test_run_is_stopped_and_started_again(tmp_path: Path, certificates: Certificates) -> None:
    chosen = settings(tmp_path, certificates)
    config = written(tmp_path, chosen)
    program = "from lawful_intercept.lemf.commands import app; app()"
    for number, pdu in enumerate(messages()):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, "run", "--config", config, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            told = (await process.stdout.readline()).decode().split()
            assert told[0::2] == ["hi2", "hi3"]
            async with Delivery(int(told[1]), certificates.mdf) as link:
                await link.send(pdu)
                await link.confirm()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        (session,) = json.loads(asked("sessions", "--config", config, "--json"))
        assert session["streams"][0]["received"] == number + 1
        assert session["streams"][0]["whole"]
