"""Where packages come from: apt's sources, of this machine, of a mirror that was named, or of the operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nf.errors import InputError, NotFoundError, UnavailableError

SUITE = "bookworm"
SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_COMPONENTS = frozenset({"main", "contrib", "non-free", "non-free-firmware"})
_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)\s*")


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of apt's sources (sources.list(5)); `options` in the words of the deb822 form, such as Signed-By."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """In deb822 form."""
        lines = ["Types: deb", f"URIs: {' '.join(self.uris)}", f"Suites: {' '.join(self.suites)}"]
        if self.components:
            lines.append(f"Components: {' '.join(self.components)}")
        return "\n".join([*lines, *(f"{name}: {value}" for name, value in self.options)]) + "\n"


def parse_sources(text: str, *, where: str) -> list[Source]:
    """Entries for binary packages, of the deb822 form or of one line each. Raises InputError with the line."""
    if re.search(r"(?m)^deb(-src)?\s", text):
        return [found for number, line in enumerate(text.splitlines(), 1) if (found := _one_line(line, number, where))]
    return [found for stanza in re.split(r"\n\s*\n", text) if (found := _stanza(stanza, where))]


def _one_line(line: str, number: int, where: str) -> Source | None:
    bare = line.split("#", 1)[0].strip()
    if not bare or bare.startswith("deb-src"):
        return None
    match = _ONE_LINE.fullmatch(bare)
    if match is None:
        raise InputError(
            f"line {number} is no apt source: {bare[:60]}",
            where=where,
            remedy="write: deb [signed-by=KEYRING] URI SUITE main",
        )
    given = dict(item.split("=", 1) for item in (match[1] or "").split() if "=" in item)
    known = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until"}
    options = tuple((known[name], value) for name, value in given.items() if name in known)
    return Source((match[2],), (match[3],), tuple(match[4].split()), options)


def _stanza(text: str, where: str) -> Source | None:
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t" and last:
            fields[last] += "\n" + line
            continue
        name, mark, value = line.partition(":")
        if not mark:
            raise InputError(f"no field: {line[:60]}", where=where, remedy="write Types:, URIs:, Suites:, Components:")
        last = name.strip().lower()
        fields[last] = value.strip()
    if not fields or fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "deb").split():
        return None
    for name in ("uris", "suites"):
        if not fields.get(name):
            raise InputError(f"an entry has no {name.upper()}", where=where, remedy="see sources.list(5)")
    known = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until"}
    return Source(
        tuple(fields["uris"].split()),
        tuple(fields["suites"].split()),
        tuple(fields.get("components", "").split()),
        tuple((known[name], value) for name, value in fields.items() if name in known),
    )


def machine_sources(directory: Path = Path("/etc/apt")) -> list[Source]:
    """Those of Debian 12 that this machine's apt uses. Raises NotFoundError when there are none."""
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    found = []
    for path in files:
        if path.suffix in {".list", ".sources"} and path.is_file():
            found += [
                one for one in parse_sources(path.read_text(errors="replace"), where=str(path)) if _is_debian(one)
            ]
    if not found:
        raise NotFoundError(
            f"no source of Debian 12 ({SUITE})",
            where=str(directory),
            remedy="name one with --mirror URL or --mirror FILE",
        )
    return found


def require_keyring() -> None:
    """Raises UnavailableError: without it nobody can tell whether a package is Debian's."""
    if not KEYRING.is_file():
        raise UnavailableError(
            "Debian's archive keys are missing", where=str(KEYRING), remedy="apt-get install debian-archive-keyring"
        )


def _is_debian(source: Source) -> bool:
    return set(source.suites) <= set(SUITES) and set(source.components) <= _COMPONENTS and bool(source.components)


def mirror_sources(mirror: str) -> list[Source]:
    """From `--mirror`: the URL of a Debian archive, or a file of apt sources (a dated snapshot). Raises InputError."""
    if "://" not in mirror:
        try:
            return parse_sources(Path(mirror).read_text(), where=mirror)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=mirror, remedy="name a URL or a file") from None
    archive = mirror.rstrip("/")
    signed = (("Signed-By", str(KEYRING)),)
    return [
        Source((archive,), SUITES[:2], ("main",), signed),
        Source((f"{archive}-security",), SUITES[2:], ("main",), signed),
    ]


def with_components(sources: Iterable[Source], wanted: Sequence[str]) -> list[Source]:
    """The same entries with `main` and `wanted`, signed by Debian's keyring where they name no other."""
    made = []
    for source in sources:
        options = source.options
        if not any(name in {"Signed-By", "Trusted"} for name, _ in options):
            options = (*options, ("Signed-By", str(KEYRING)))
        made.append(Source(source.uris, source.suites, tuple(dict.fromkeys(("main", *wanted))), options))
    return made
