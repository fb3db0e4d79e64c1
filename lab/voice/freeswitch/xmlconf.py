"""The XML registry: freeswitch.xml with its X-PRE-PROCESS lines and $${global} variables, as one document."""

from __future__ import annotations

import glob
import re
import subprocess
import xml.etree.ElementTree as ET  # the operator's own files
from pathlib import Path

_DIRECTIVE = re.compile(r"<\s*X-PRE-PROCESS\s+([^>]*?)/?>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_GLOBAL = re.compile(r"\$\$\{([^}]+)\}")
_DEEPEST = 50


class ConfigError(Exception):
    """The file cannot be read: FreeSWITCH does not start, and keeps what it had at a reloadxml."""


class Registry:
    """The document and the global variables. `read` again after a change: it changes nothing when it raises."""

    def __init__(self, directory: Path, variables: dict[str, str]) -> None:
        self.directory = directory
        self._given = variables
        self.variables = dict(variables)
        self.root = ET.Element("document")

    def read(self) -> None:
        """Raises ConfigError."""
        main = self.directory / "freeswitch.xml"
        variables = {**self.variables, **self._given}
        text = _processed(main, variables, 0)
        try:
            root = ET.fromstring(text)  # noqa: S314
        except ET.ParseError as error:
            raise ConfigError(f"{main}: {error}") from error
        if root.tag != "document":
            raise ConfigError(f"{main}: the root is <{root.tag}>, it must be <document type='freeswitch/xml'>")
        self.root, self.variables = root, variables

    def section(self, name: str) -> list[ET.Element]:
        """All sections of that name."""
        return [one for one in self.root.iterfind("section") if one.get("name") == name]

    def configuration(self, name: str) -> ET.Element | None:
        """`event_socket.conf` and so on; None: the module logs that it cannot be opened."""
        found = (one for section in self.section("configuration") for one in section.iterfind("configuration"))
        return next((one for one in found if one.get("name") == name), None)

    def contexts(self, name: str) -> list[ET.Element]:
        found = [one for section in self.section("dialplan") for one in section.iterfind("context")]
        return [one for one in found if one.get("name") == name]

    def user(self, name: str, domain: str) -> tuple[dict[str, str], dict[str, str]] | None:
        """Parameters and variables of a user of the directory: those of the domain, of the group, and its own."""
        for one in self.domains():
            if one.get("name") != domain:
                continue
            for group in [*one.iterfind("groups/group"), one]:
                users = [*group.iterfind("users/user"), *(group.iterfind("user") if group is one else ())]
                for user in users:
                    if user.get("id") == name or user.get("number-alias") == name:
                        layers = [one, group, user]
                        return _merged(layers, "params/param"), _merged(layers, "variables/variable")
        return None

    def domains(self) -> list[ET.Element]:
        return [one for section in self.section("directory") for one in section.iterfind("domain")]


def params(element: ET.Element | None, path: str = "settings/param") -> dict[str, str]:
    """Of a configuration: the last of a name wins."""
    return {one.get("name", ""): one.get("value", "") for one in element.iterfind(path)} if element is not None else {}


def true(value: str | None) -> bool:
    """What FreeSWITCH takes for true."""
    lowered = (value or "").lower()
    return lowered in ("yes", "on", "true", "t", "enabled", "active", "allow") or (
        lowered.isdecimal() and int(lowered) > 0
    )


def _merged(layers: list[ET.Element], path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in layers:
        found |= params(one, path)
    return found


def _processed(path: Path, variables: dict[str, str], depth: int) -> str:
    """Directives in comments are carried out too: so it is in FreeSWITCH."""
    if depth > _DEEPEST:
        raise ConfigError(f"{path}: files include one another without end")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    lines = []
    for line in text.splitlines():
        expanded = _expanded(line, variables)
        found = _DIRECTIVE.search(expanded)
        if found:
            given = {name.lower(): one or other for name, one, other in _ATTRIBUTE.findall(found[1])}
            done = _directive(path, given.get("cmd", "").lower(), given.get("data", ""), variables, depth)
            expanded = expanded[: found.start()] + done + expanded[found.end() :]
        lines.append(expanded)
    return "\n".join(lines)


def _expanded(line: str, variables: dict[str, str]) -> str:
    return _GLOBAL.sub(lambda found: variables.get(found[1], ""), line)


def _directive(path: Path, command: str, data: str, variables: dict[str, str], depth: int) -> str:
    if command in ("set", "exec-set", "env-set"):
        name, _, value = data.partition("=")
        if command == "exec-set":
            value = _output(value)
        variables[name.strip()] = value.strip().strip("'\"")
        return ""
    if command == "exec":
        return _output(data)
    if command != "include":
        return ""
    pattern = data if data.startswith("/") else str(path.parent / data)
    parts = []
    for one in sorted(glob.glob(pattern)):  # noqa: PTH207 - the pattern may be absolute
        text = _processed(Path(one), variables, depth + 1)
        parts.append(re.sub(r"^\s*<\?xml[^>]*\?>|</?include>", "", text))
    return "\n".join(parts)


def _output(command: str) -> str:
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip()
