"""Kamailio, and relays, on loopback: started as an appliance starts them, told what it is told, read back."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import CALLS_DB, SETTINGS_DB, Paths
from sip.kamailio.render import render
from sip.kamailio.schema import SCHEMAS
from sip.kamailio.tables import Tables, tables
from tests.sip.kamailio.phones import Endpoint, md5_ha1

DOMAIN: Final = "voice.test.example"
USERS: Final = ("alice", "bob", "carol", "dave", "erin", "1001")
PASSWORD: Final = "open-sesame"
LIMIT_S: Final = 20.0
ACCOUNTS: Final = "".join(f"{user}:{DOMAIN}:{md5_ha1(user, DOMAIN, PASSWORD)}\n" for user in USERS)

_numbers = count(1)


def until(true: Callable[[], Any], limit_s: float = LIMIT_S, what: str = "") -> Any:
    """Its first value that is true."""
    end = time.monotonic() + limit_s
    while not (found := true()):
        assert time.monotonic() < end, what or "it did not come to be"
        time.sleep(0.02)
    return found


def section(**parts: Any) -> KamailioSection:
    """A proxy on 127.0.0.1 with a relay, two media servers, two trunks, and what `parts` say otherwise."""
    base: dict[str, Any] = {
        "proxy": {"id": "p1", "appliance": "pop1", "address": "127.0.0.1"},
        "domains": [DOMAIN],
        "accounts": "secret:accounts",
        "relays": [{"id": "r1", "appliance": "pop1", "address": "127.0.0.2"}],
        "media_servers": [
            {"id": "m1", "appliance": "ms1", "address": "127.0.0.11", "password": "secret:m"},
            {"id": "m2", "appliance": "ms2", "address": "127.0.0.12", "password": "secret:m"},
        ],
        "services": [{"number": "9001", "kind": "echo"}],
        "trunks": [
            {"id": "north", "gateways": [{"address": "127.0.0.21"}]},
            {"id": "south", "gateways": [{"address": "127.0.0.22"}], "permitted": ["+49"]},
        ],
        "plan": [
            {"prefix": "00", "trunks": ["north", "south"], "strip": 2, "prepend": "+"},
            {"prefix": "0049", "trunks": ["south"], "strip": 2, "prepend": "+"},
        ],
        "emergency": {"numbers": ["112", "110"], "trunks": ["south", "north"]},
        "subscribers": [{"user": "alice", "domain": DOMAIN, "numbers": ["+493055501"]}],
        "protection": {"density": 60000, "ban": 60},
    }
    return KamailioSection.model_validate(base | parts)


class Proxy:
    """One Kamailio with folders of its own. `as_user`: what starts it as somebody else (setpriv)."""

    as_user: tuple[str, ...] = ()

    def __init__(self, folder: Path, wanted: KamailioSection, accounts: str = ACCOUNTS, rpc_port: int = 8090) -> None:
        self.paths = Paths(
            config=folder,
            state=folder,
            run=folder / "run",
            certificate=folder / "cert.pem",
            stir_key=folder / "key.pem",
            rpc_port=rpc_port,
        )
        self.folder, self.section, self.accounts = folder, wanted, accounts
        self.paths.rpc_socket.parent.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        for name, sql in SCHEMAS.items():
            with closing(sqlite3.connect(folder / name)) as database:
                database.executescript(sql)

    def write(self) -> None:
        for name, text in render(self.section, self.paths).items():
            (self.folder / name).write_text(text)

    def check(self) -> subprocess.CompletedProcess[str]:
        argv = ["kamailio", "-c", "-E", "-Y", str(self.paths.run), "-f", str(self.folder / "kamailio.cfg")]
        return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def start(self, *, opened: bool = True) -> None:
        self.write()
        self.push_rows(self.tables())
        argv = [*self.as_user, "kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-Y", str(self.paths.run)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*argv, "-f", str(self.folder / "kamailio.cfg")], stdout=log, stderr=log, start_new_session=True
            )
        until(self._up, what=self.text()[-2000:])
        if opened:
            self.push()
            self.rpc("htable.seti", "ctl", "drain", 0)

    def _up(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.text()[-3000:]
        try:
            return bool(self.rpc("core.uptime"))
        except (OSError, LookupError):
            return False

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self, sign: int = signal.SIGTERM) -> None:
        if self._process is None:
            return
        if sign == signal.SIGKILL:
            os.killpg(self._process.pid, sign)
        else:
            self._process.send_signal(sign)
        self._process.wait(LIMIT_S)
        self._process = None
        self.paths.rpc_socket.unlink(missing_ok=True)

    def rpc(self, method: str, *parameters: int | str) -> Any:
        """Its result. The socket is bound by an absolute path: Kamailio cannot answer another."""
        own = self.paths.run / f"c{next(_numbers)}.sock"
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
            sock.bind(str(own))
            try:
                sock.settimeout(10)
                sock.connect(str(self.paths.rpc_socket))
                text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": [*parameters]})
                sock.send(text.encode())
                answer = json.loads(sock.recv(1 << 18))
            finally:
                own.unlink()
        if "error" in answer:
            raise LookupError(answer["error"]["message"])
        return answer["result"]

    def tables(self) -> Tables:
        return tables(self.section, self.accounts)

    def push_rows(self, wanted: Tables) -> None:
        with closing(sqlite3.connect(self.folder / SETTINGS_DB)) as database, database:
            database.execute("DELETE FROM plan")
            database.executemany("INSERT INTO plan (tprefix, tvalue) VALUES (?, ?)", wanted.rows["plan"])
            database.execute("DELETE FROM rtpengine")
            relays = "INSERT INTO rtpengine (setid, url, weight, disabled) VALUES (?, ?, ?, ?)"
            database.executemany(relays, wanted.rows["rtpengine"])

    def push(self, wanted: Tables | None = None) -> None:
        """All but the rows, which are read when it starts."""
        wanted = wanted or self.tables()
        for table, entries in wanted.hashes.items():
            for key, value in entries.items():
                self.rpc("htable.sets" if isinstance(value, str) else "htable.seti", table, key, value)
        for (group, name), value in wanted.settings.items():
            self.rpc("cfg.set_now_int", group, name, value)

    def change(self, **parts: Any) -> None:
        """Another section, as a hot change: kamailio.cfg stays as it is."""
        before = (self.folder / "kamailio.cfg").read_text()
        self.section = KamailioSection.model_validate(self.section.model_dump(mode="json") | parts)
        self.write()
        assert (self.folder / "kamailio.cfg").read_text() == before
        self.push_rows(self.tables())
        self.rpc("mtree.reload", "plan")
        self.push()

    # what it says

    def calls(self) -> int:
        found: Mapping[str, int] = self.rpc("dlg.stats_active")
        return found["all"]

    def idle(self) -> None:
        """Waits until it has no call."""
        until(lambda: self.calls() == 0, what="a call stays")

    def profile(self, name: str, value: str) -> int:
        return int(self.rpc("dlg.profile_get_size", name, value))

    def records(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.folder / CALLS_DB)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM cdrs ORDER BY id")]

    def record(self, call_id: str) -> dict[str, Any]:
        """The one of this call, once it is closed."""

        def closed() -> list[dict[str, Any]]:
            return [one for one in self.records() if one["call_id"] == call_id and one["result"] != "open"]

        found: list[dict[str, Any]] = until(closed, what=f"{call_id} has no record: {self.records()}")
        assert len([one for one in self.records() if one["call_id"] == call_id]) == 1
        return found[0]


@contextmanager
def running(folder: Path, wanted: KamailioSection, *, opened: bool = True, rpc_port: int = 8090) -> Iterator[Proxy]:
    proxy = Proxy(folder, wanted, rpc_port=rpc_port)
    try:
        proxy.start(opened=opened)
        yield proxy
    finally:
        proxy.stop()


def registered(phones: tuple[Endpoint, Endpoint]) -> tuple[Endpoint, Endpoint]:
    """Alice and Bob, in that order."""
    for phone, name in zip(phones, ("alice", "bob"), strict=True):
        assert phone.register(name, DOMAIN, PASSWORD).code == 200
    return phones


class Relay:
    """rtpengine, in user space."""

    def __init__(self, address: str, folder: Path, *options: str) -> None:
        self.address, self.log = address, folder / f"relay-{address}.log"
        ports = [f"--listen-ng={address}:2223", "--port-min=30000", "--port-max=30999"]
        argv = [
            "rtpengine",
            "--config-file=none",
            "-f",
            "-E",
            "-L",
            "4",
            "--table=-1",
            f"--interface={address}",
            *ports,
            *options,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*argv, "--delete-delay=0", "--no-redis-required"], stdout=log, stderr=log)
        until(self._up, what="the relay does not answer")

    def _up(self) -> bool:
        assert self._process.poll() is None
        return self.ask("ping").get("result") == "pong"

    def ask(self, command: str, **arguments: str) -> dict[str, Any]:
        words = {"command": command, **arguments}
        text = "".join(f"{len(key)}:{key}{len(value)}:{value}" for key, value in sorted(words.items()))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(1)
            sock.sendto(f"x{next(_numbers)} d{text}e".encode(), (self.address, 2223))
            try:
                answer = sock.recv(65_535).split(b" ", 1)[1]
            except OSError:
                return {}
        found: dict[str, Any] = _bencoded(answer)[0]
        return found

    def sessions(self) -> list[str]:
        """Call-IDs."""
        found: list[str] = self.ask("list").get("calls", [])
        return found

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(LIMIT_S)


def _bencoded(data: bytes, at: int = 0) -> Any:
    """(value, where it ends)."""
    mark = data[at : at + 1]
    if mark in {b"d", b"l"}:
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = _bencoded(data, at)
            items.append(item)
        return (dict(zip(items[::2], items[1::2], strict=True)) if mark == b"d" else items), at + 1
    if mark == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(), end
