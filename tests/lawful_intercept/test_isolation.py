"""What others on the machine can see of a process of lawful intercept: nothing."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lawful_intercept.isolation import Sealed, place_of, quiet
from nf.errors import StorageError

_SECRET = "sip:alice@example.net"
_NOBODY = 65534


@contextmanager
def child(code: str, *words: str, user: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Ends when its standard input does."""
    argv = [sys.executable, "-c", textwrap.dedent(code), *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen(argv, text=True, user=user, group=user, extra_groups=[] if user else None, **pipes)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


UNSEEN = """
    import dataclasses, json, sys
    from lawful_intercept import isolation
    isolation.unseen(sys.argv[1])
    key = isolation.Sealed(b"k" * 32)
    print(json.dumps(dataclasses.asdict(isolation.report())), flush=True)
    sys.stdin.read()
"""

LOOKING = """
    import ctypes, json, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    found = {}
    for name in ("maps", "mem", "environ", "auxv"):
        try:
            found[name] = len(open(f"/proc/{sys.argv[1]}/{name}", "rb").read(1))
        except OSError:
            found[name] = None
    found["cmdline"] = open(f"/proc/{sys.argv[1]}/cmdline").read().strip(chr(0))
    found["comm"] = open(f"/proc/{sys.argv[1]}/comm").read().strip()
    found["attach"] = libc.ptrace(16, int(sys.argv[1]), 0, 0)
    print(json.dumps(found))
"""


@pytest.mark.root
def test_nobody_of_its_own_user_can_look_into_it() -> None:
    with child(UNSEEN, "nobody", _SECRET) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["user"] == _NOBODY
        assert told["core_octets"] == 0
        assert told["alone"] is True
        assert told["no_new_privileges"] is True
        assert told["sealed"] in {"secret", "locked"}
        with child(LOOKING, str(process.pid), user=_NOBODY) as other:
            found = json.loads(other.communicate(timeout=60)[0])
    nothing = {"maps": None, "mem": None, "environ": None, "auxv": None}
    assert found == {**nothing, "cmdline": "nf-process", "comm": "nf-process", "attach": -1}


@pytest.mark.root
def test_the_same_look_sees_a_process_that_did_not_hide() -> None:
    """The judge is no blind one."""
    with child("import sys; print(1, flush=True); sys.stdin.read()", _SECRET, user=_NOBODY) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with child(LOOKING, str(process.pid), user=_NOBODY) as other:
            found = json.loads(other.communicate(timeout=60)[0])
    assert found["maps"] == found["environ"] == 1
    assert _SECRET in found["cmdline"]


SILENT = """
    import asyncio, logging, sys, threading, warnings
    from lawful_intercept import isolation
    places = []
    isolation.unseen(told=places.append)
    logging.getLogger("asyncio").critical("about sip:alice")
    logging.critical("about sip:alice")
    warnings.warn("about sip:alice")
    def failing():
        raise ValueError("about sip:alice")
    thread = threading.Thread(target=failing)
    thread.start()
    thread.join()
    class Gone:
        def __del__(self):
            raise KeyError("about sip:alice")
    Gone()
    async def main():
        asyncio.get_running_loop().call_soon(failing)
        task = asyncio.ensure_future(asyncio.to_thread(failing))
        await asyncio.wait([task])
        del task
    isolation.run(main, told=places.append)
    import gc
    gc.collect()
    print(len(places), *[one.partition(" ")[0] for one in places], flush=True)
    failing()
"""


def test_what_nobody_caught_is_written_nowhere_and_told_without_a_word() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SILENT)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.stderr == ""
    assert ran.returncode == 1
    count, *names = ran.stdout.split()
    assert int(count) == len(names) == 4
    assert set(names) == {"ValueError", "KeyError"}


def wiped() -> Sealed:
    sealed = Sealed(b"x")
    sealed.wipe()
    return sealed


def test_a_failure_is_told_by_its_place() -> None:
    with pytest.raises(StorageError) as refused, wiped().opened():
        pass
    assert re.fullmatch(r"StorageError at lawful_intercept/isolation\.py:[0-9]+", place_of(refused.value))


def test_sealed_octets_are_lent_and_wiped() -> None:
    sealed = Sealed(b"0123456789abcdef" * 2)
    assert sealed.kind in {"secret", "locked"}
    assert "0123" not in repr(sealed)
    with sealed.opened() as view:
        assert bytes(view) == b"0123456789abcdef" * 2
        assert view.readonly
        sealed.wipe()
        assert bytes(view) == bytes(32), "also while it is lent"
    sealed.wipe()
    with pytest.raises(StorageError), sealed.opened():
        pass


def test_sealed_octets_are_in_no_read_of_memory() -> None:
    """memfd_secret: not even this process's own /proc/self/mem shows them, where the kernel has it."""
    sealed = Sealed(b"0123456789abcdef" * 2)
    if sealed.kind != "secret":
        pytest.skip("this kernel has no memfd_secret")
    address = ctypes.addressof(ctypes.c_char.from_buffer(sealed._map))
    with Path("/proc/self/mem").open("rb") as memory:
        memory.seek(address)
        with pytest.raises(OSError, match=r".+"):
            memory.read(16)
    gc.collect()
    sealed.wipe()


def test_sealed_octets_are_not_in_a_child() -> None:
    sealed = Sealed(b"x" * 32)
    found = Path("/proc/self/smaps").read_text()
    address = ctypes.addressof(ctypes.c_char.from_buffer(sealed._map))
    entry = found[found.index(f"{address:x}-") :].partition("VmFlags:")[2].partition("\n")[0].split()
    gc.collect()
    assert "dc" in entry, "not copied on fork"
    assert "dd" in entry, "not in dumps"
    sealed.wipe()


async def test_a_loop_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    places: list[str] = []
    quiet(loop, places.append)
    loop.call_soon(lambda: next(iter([places[0]])))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert [one.partition(" ")[0] for one in places] == ["IndexError"]
    assert capfd.readouterr().err == ""
