"""A root as a directory: paths that stay inside it, its digest, its times, packing and unpacking."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from images.builder.programs import run
from nf.errors import InputError

_MOST_LINKS = 40
_PLACEHOLDER = re.compile(r"@([A-Z][A-Z_]*)@")
TEMPLATE = ".template"


def inside(tree: Path, path: str) -> Path:
    """Where `path` of the root leads below `tree`, symbolic links followed as the running system follows them.

    Raises InputError for a path that climbs out, or a ring of links.
    """
    parts = list(PurePosixPath("/", path).parts[1:])
    current: list[str] = []
    links = 0
    while parts:
        name = parts.pop(0)
        if name == "..":
            current = current[:-1]
            continue
        candidate = tree.joinpath(*current, name)
        if candidate.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise InputError("a ring of symbolic links", where=path)
            target = PurePosixPath(candidate.readlink())
            if target.is_absolute():
                current = []
                target = target.relative_to("/")
            parts = [*target.parts, *parts]
        else:
            current.append(name)
    return tree.joinpath(*current)


def walk(tree: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `tree` by its path in the root, sorted, links not followed."""
    stack = [tree]
    while stack:
        here = stack.pop()
        with os.scandir(here) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            info = entry.stat(follow_symlinks=False)
            yield "/" + os.path.relpath(entry.path, tree), info
        stack += [Path(entry.path) for entry in reversed(found) if entry.is_dir(follow_symlinks=False)]


def copy_files(source: Path, tree: Path, values: Mapping[str, str]) -> list[str]:
    """Copy a tree of ours into the root: owned by root, 0644 or 0755. NAME.template becomes NAME, its @KEY@ filled in.

    Paths written. Raises InputError for a placeholder without a value, or what is neither file nor link nor directory.
    """
    written = []
    for path, info in sorted(walk(source)):
        target = inside(tree, str(PurePosixPath(path).parent)) / PurePosixPath(path).name
        if stat.S_ISDIR(info.st_mode):
            place = inside(tree, path)
            if not place.is_dir():
                place.mkdir(parents=True)
                place.chmod(0o755)
            continue
        if stat.S_ISLNK(info.st_mode):
            target.unlink(missing_ok=True)
            target.symlink_to((source / path[1:]).readlink())
        elif stat.S_ISREG(info.st_mode):
            data = (source / path[1:]).read_bytes()
            if target.suffix == TEMPLATE:
                target = target.with_suffix("")
                data = fill(data.decode(), values, where=path).encode()
            target.unlink(missing_ok=True)
            target.write_bytes(data)
            target.chmod(0o755 if info.st_mode & 0o100 else 0o644)
        else:
            raise InputError("is neither a file nor a link nor a directory", where=str(source / path[1:]))
        os.chown(target, 0, 0, follow_symlinks=False)
        written.append("/" + str(target.relative_to(tree)))
    return written


def fill(text: str, values: Mapping[str, str], *, where: str) -> str:
    """`text` with each @KEY@ replaced. Raises InputError for a key that is not there."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InputError(f"no value for @{match[1]}@", where=where, remedy=f"known: {', '.join(sorted(values))}")
        return values[match[1]]

    return _PLACEHOLDER.sub(value, text)


def set_times(tree: Path, epoch: int) -> None:
    """Every file, directory and link gets the time `epoch` (seconds)."""
    for path, _ in walk(tree):
        os.utime(tree / path[1:], (epoch, epoch), follow_symlinks=False)
    os.utime(tree, (epoch, epoch))


def digest_lines(tree: Path, *, without: tuple[str, ...] = ()) -> Iterator[str]:
    """One line for each path: mode, owner, time, device, extended attributes, and link or digest of the content."""
    for path, info in sorted(walk(tree)):
        if path.startswith(without) if without else False:
            continue
        file = tree / path[1:]
        if stat.S_ISREG(info.st_mode):
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        else:
            content = str(file.readlink()) if stat.S_ISLNK(info.st_mode) else ""
        attributes = {name: os.getxattr(file, name, follow_symlinks=False).hex() for name in _attributes(file)}
        device = info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0
        fields = (f"{info.st_mode:o}", info.st_uid, info.st_gid, int(info.st_mtime), device, content, attributes or "")
        yield f"{path!r} {' '.join(str(field) for field in fields)}"


def _attributes(file: Path) -> list[str]:
    return sorted(os.listxattr(file, follow_symlinks=False))


def tree_digest(tree: Path, *, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over `digest_lines`: equal for two trees that no program can tell apart."""
    found = hashlib.sha256()
    for line in digest_lines(tree, without=without):
        found.update(line.encode(errors="surrogateescape") + b"\n")
    return found.hexdigest()


_TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*")


def pack(tree: Path, out: Path) -> None:
    """`out`: a tar file, the same for the same tree. Raises DriverError."""
    beside = out.with_name(f".{out.name}.new")
    try:
        run([*_TAR, "--create", "--sort=name", "--format=posix",
             "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
             f"--file={beside}", f"--directory={tree}", "."], where=str(out))  # fmt: skip
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def unpack(file: Path, tree: Path) -> None:
    """Raises DriverError."""
    tree.mkdir(parents=True)
    run(
        [*_TAR, "--extract", "--preserve-permissions", "--same-owner", f"--file={file}", f"--directory={tree}"],
        where=str(file),
    )


def size(path: Path) -> int:
    """Octets of the files below `path`."""
    if not path.is_dir():
        return path.lstat().st_size if path.is_file() else 0
    return sum(info.st_size for _, info in walk(path) if stat.S_ISREG(info.st_mode))


def remove(path: Path) -> None:
    """A file, link or directory, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
