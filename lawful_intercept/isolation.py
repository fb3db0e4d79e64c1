"""What a process of lawful intercept gives up at its start, so that nobody else on the machine sees what it knows.

`unseen()` is the first thing that each of them calls. Nothing of it can be taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import logging
import mmap
import os
import pwd
import resource
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nf.errors import DeniedError, NotFoundError, StorageError

TITLE: Final = "nf-process"
"""What `ps` shows: arguments name files, and files name what somebody works on."""

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_MEMFD_SECRET: Final = 447  # the same on all architectures (Linux 5.14)
_MADV_DONTFORK: Final = 10
_MADV_DONTDUMP: Final = 16
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Told = Callable[[str], None]
"""What a failure is told to: "KeyError at lawful_intercept/points/process.py:12", never what it was about."""


@dataclass(frozen=True, slots=True)
class Report:
    """How this process stands. `sealed`: where keys are kept, "secret" (memfd_secret(2): the kernel does not see them
    either), "locked" (mlock(2), not in dumps) or "none"; `alone`: neither dumped nor read by its user's others."""

    user: int
    core_octets: int
    alone: bool
    no_new_privileges: bool
    sealed: str


def unseen(user: str = "", *, told: Told | None = None, title: str = TITLE) -> None:
    """Irrevocable: no core dumps, no look into this process from outside, another user, no log, no traceback.

    user  whose process it becomes when root started it; "" or the present one: nothing changes
    told  gets class and place of what nobody caught

    Raises NotFoundError (no such user), DeniedError (it cannot be that user).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _retitle(title)
    if user:
        _become(user)
    # A change of user sets it anew, hence now (prctl(2)).
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o077)
    _silence(told)


def report() -> Report:
    """Of this process, as the kernel has it."""
    with Sealed(b"\0") as probe:
        sealed = probe.kind
    return Report(
        user=os.geteuid(),
        core_octets=resource.getrlimit(resource.RLIMIT_CORE)[0],
        alone=_LIBC.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0,
        no_new_privileges=_LIBC.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        sealed=sealed,
    )


def place_of(error: BaseException) -> str:
    """Class and place, nothing that it says."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    return f"{name} at {_place(trace)}" if trace is not None else name


def _place(trace: TracebackType) -> str:
    parts = Path(trace.tb_frame.f_code.co_filename).parts
    known = next((n for n, part in enumerate(parts) if part in {"lawful_intercept", "nf"}), len(parts) - 1)
    return f"{'/'.join(parts[known:])}:{trace.tb_lineno}"


def quiet(loop: asyncio.AbstractEventLoop, told: Told | None = None) -> None:
    """A task that failed and nobody awaited: its place is told, no word is written."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        _tell(told, error if isinstance(error, BaseException) else None)

    loop.set_debug(enabled=False)
    loop.set_exception_handler(handle)


def run(main: Callable[[], Any], *, told: Told | None = None) -> Any:
    """`asyncio.run` of a quiet loop. `main`: makes the coroutine."""

    async def quietly() -> Any:
        quiet(asyncio.get_running_loop(), told)
        return await main()

    return asyncio.run(quietly(), debug=False)


def _tell(told: Told | None, error: BaseException | None) -> None:
    if told is not None:
        with contextlib.suppress(Exception):
            told(place_of(error) if error is not None else "a failure without an exception")


def _silence(told: Told | None) -> None:
    logging.disable(sys.maxsize)
    logging.lastResort = None
    logging.raiseExceptions = False
    warnings.showwarning = lambda *_args, **_named: None
    faulthandler.disable()
    sys.excepthook = lambda _kind, error, _trace: _tell(told, error)
    sys.unraisablehook = lambda unraisable: _tell(told, unraisable.exc_value)
    threading.excepthook = lambda args: _tell(told, args.exc_value)


def _become(name: str) -> None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NotFoundError("there is no such user", where=name, remedy="install the image's users") from None
    if entry.pw_uid == os.geteuid() == os.getuid():
        return
    try:
        os.setgroups(os.getgrouplist(name, entry.pw_gid))
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except PermissionError:
        raise DeniedError("this process cannot become that user", where=name, remedy="start it as root") from None


def _retitle(title: str) -> None:
    """Over the arguments that the kernel shows: fields 48 and 49 of /proc/PID/stat (proc(5)) are where they lie."""
    _LIBC.prctl(_PR_SET_NAME, ctypes.c_char_p(title.encode()[:15]), 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])
        if 0 < begin < end:
            length = end - begin
            ctypes.memmove(begin, title.encode()[: length - 1].ljust(length, b"\0"), length)


class Sealed:
    """A few octets that stay out of swap, dumps and children, and go when they are no longer needed.

    `with sealed.opened() as view` lends them. What a library copies from there is its own matter.
    """

    __slots__ = ("_length", "_map", "kind")

    def __init__(self, octets: bytes | bytearray | memoryview) -> None:
        """Raises StorageError when the machine has no page."""
        self._length = len(octets)
        try:
            self._map, self.kind = _pages(max(1, self._length))
        except (OSError, ValueError) as error:
            raise StorageError(
                "no memory for a key", remedy="raise the limit of locked memory (LimitMEMLOCK)"
            ) from error
        self._map[: self._length] = bytes(octets)

    def __repr__(self) -> str:
        return "Sealed()"

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @contextlib.contextmanager
    def opened(self) -> Any:
        """A view for as long as the block. Raises StorageError when they are wiped."""
        if self._map.closed:
            raise StorageError("the key is wiped")
        whole = memoryview(self._map)
        view = whole[: self._length].toreadonly()
        try:
            yield view
        finally:
            view.release()
            whole.release()

    def wipe(self) -> None:
        """Idempotent. Waits for nobody: while it is lent, it is overwritten, and unmapped with its last view."""
        if not self._map.closed:
            self._map[:] = bytes(len(self._map))
            with contextlib.suppress(BufferError):
                self._map.close()


def _pages(length: int) -> tuple[mmap.mmap, str]:
    size = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
    descriptor = _LIBC.syscall(_MEMFD_SECRET, os.O_CLOEXEC)
    if descriptor >= 0:
        try:
            os.ftruncate(descriptor, size)
            secret = mmap.mmap(descriptor, size)
            secret.madvise(_MADV_DONTFORK)
            secret[0] = 0  # the limit of locked memory counts here
        except OSError:
            pass
        else:
            return secret, "secret"
        finally:
            os.close(descriptor)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(_MADV_DONTDUMP)
    pages.madvise(_MADV_DONTFORK)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    locked = _LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0
    return pages, "locked" if locked else "none"
