"""What may stand in a `*.clab.yml`: containerlab's keys that both runners understand, checked key by key.

The shape follows containerlab's topology definition (name, prefix, mgmt, topology with defaults, kinds, groups, nodes,
links). Keys that only a container engine can honour (`image`, `privileged`, `cap-add`...) are read and left to it.
"""

from __future__ import annotations

import difflib
import re
import shlex
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from lab.yaml_source import Source
from nf.documents.keys import Loc
from nf.errors import Problem

Kind = Literal["linux", "bridge"]
RestartPolicy = Literal["no", "on-failure", "always", "unless-stopped"]

_INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~-]{1,15}")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"


def valid_name(text: str) -> bool:
    """Whether a lab may have this name."""
    return re.fullmatch(_NAME, text) is not None


def _broken(rule: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "remedy": remedy})


def _text(value: Any) -> Any:
    """Numbers and booleans as a container engine would get them from YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else "" if value is None else value


def _empty(value: Any) -> Any:
    return {} if value is None else value


def _none_is_list(value: Any) -> Any:
    return [] if value is None else value


def _command(value: Any) -> Any:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise _broken(f"cannot be split into words: {error}", "close the quotes") from None
        if not words or "\0" in value:
            raise _broken("not a command", "write a program and its arguments, or leave the key out")
    return value


def _bind(value: Any) -> Any:
    if isinstance(value, str):
        parts = value.split(":")
        if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/") or "\0" in value:
            raise _broken("a bind is source:target or source:target:ro, with an absolute target", "write it so")
        unknown = set(parts[2].split(",") if len(parts) == 3 else ()) - {"ro", "rw", "z", "Z"}
        if unknown:
            raise _broken(f"unknown bind option {', '.join(sorted(unknown))}", "use ro or rw")
        if ".." in parts[1].split("/"):
            raise _broken("the target of a bind goes through ..", "write the path out")
    return value


def _endpoint(value: Any) -> Any:
    """The brief form `node:interface` as the extended one."""
    if not isinstance(value, str):
        return value
    node, separator, interface = value.partition(":")
    if not separator or not node or not interface:
        raise _broken("an endpoint is node:interface", 'write it like "r1:eth1"')
    return {"node": node, "interface": interface}


def _interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise _broken("not an interface name (1 to 15 letters, digits, . _ - ~)", "name it like eth1")
    if value == "lo":
        raise _broken("lo is the loopback of every node", "name it like eth1")
    return value


def _mac(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", value):
        raise _broken("not a MAC address", 'write it like "02:00:00:00:00:01", in quotes')
    if int(value[:2], 16) & 1 or not int(value.replace(":", ""), 16):
        raise _broken(
            "a MAC address of an interface is neither a group address nor zero",
            "clear the lowest bit of the first octet",
        )
    return value.lower()


def _sysctl_key(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_:~-]+)+", value):
        raise _broken("not a sysctl name", "write it like net.ipv4.ip_forward")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Command = Annotated[str, BeforeValidator(_command)]
Bind = Annotated[str, BeforeValidator(_bind)]
InterfaceName = Annotated[str, BeforeValidator(lambda value: _interface(value) if isinstance(value, str) else value)]
Mac = Annotated[str, BeforeValidator(_mac)]
EnvironmentName = Annotated[str, Field(pattern=r"^[^=\x00]+$")]
EnvironmentText = Annotated[Text, Field(pattern=r"^[^\x00]*$")]
SysctlName = Annotated[str, BeforeValidator(_sysctl_key)]
Name = Annotated[str, Field(pattern=_NAME)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NodeDefinition(_Model):
    """A node, or what `defaults`, a kind or a group gives to nodes."""

    kind: Kind | None = None
    group: str | None = None
    cmd: Command | None = None
    exec: Annotated[tuple[Command, ...], BeforeValidator(_none_is_list)] = ()
    binds: Annotated[tuple[Bind, ...], BeforeValidator(_none_is_list)] = ()
    env: Annotated[dict[EnvironmentName, EnvironmentText], BeforeValidator(_empty)] = Field(default_factory=dict)
    sysctls: Annotated[dict[SysctlName, Text], BeforeValidator(_empty)] = Field(default_factory=dict)
    labels: Annotated[dict[str, Text], BeforeValidator(_empty)] = Field(default_factory=dict)
    mgmt_ipv4: IPv4Address | None = Field(None, alias="mgmt-ipv4")
    network_mode: Literal["none"] | None = Field(None, alias="network-mode")
    startup_delay_s: Annotated[int, Field(ge=0, le=600)] | None = Field(None, alias="startup-delay")
    restart_policy: RestartPolicy | None = Field(None, alias="restart-policy")
    image: str | None = None
    image_pull_policy: str | None = Field(None, alias="image-pull-policy")
    privileged: bool | None = None
    cap_add: tuple[str, ...] = Field((), alias="cap-add")


Definition = Annotated[NodeDefinition, BeforeValidator(_empty)]


class EndpointDefinition(_Model):
    node: str
    interface: InterfaceName
    ipv4: IPv4Interface | None = None
    mac: Mac | None = None


Endpoint = Annotated[EndpointDefinition, BeforeValidator(_endpoint)]


class LinkDefinition(_Model):
    type: Literal["veth"] = "veth"
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=2, max_length=2)]
    mtu: Annotated[int, Field(ge=68, le=65535)] | None = None
    labels: dict[str, Text] = Field(default_factory=dict)


class Management(_Model):
    network: str = "clab"
    ipv4_subnet: IPv4Network = Field(IPv4Network("172.20.20.0/24"), alias="ipv4-subnet")


class TopologyDefinition(_Model):
    defaults: Definition = Field(default_factory=NodeDefinition)
    kinds: Annotated[dict[Kind, Definition], BeforeValidator(_empty)] = Field(default_factory=dict)
    groups: Annotated[dict[str, Definition], BeforeValidator(_empty)] = Field(default_factory=dict)
    nodes: Annotated[dict[Name, Definition], Field(min_length=1)]
    links: Annotated[tuple[LinkDefinition, ...], BeforeValidator(_none_is_list)] = ()


class FileDefinition(_Model):
    name: Name
    prefix: str | None = None
    mgmt: Annotated[Management, BeforeValidator(_empty)] = Field(default_factory=Management)
    topology: TopologyDefinition


def validate(source: Source) -> tuple[FileDefinition | None, list[Problem]]:
    """The document's definition, or None with every broken rule."""
    if not isinstance(source.data, dict):
        return None, [source.problem((), "not a topology file", "begin with `name:` and `topology:`")]
    try:
        return FileDefinition.model_validate(source.data), []
    except ValidationError as error:
        found = error.errors(include_url=False)
        return None, [_problem(source, details) for details in found if not _echo(details)]


def _echo(details: ErrorDetails) -> bool:
    """A list that counts as too short only because one of its items is refused by itself."""
    return details["type"] == "too_short" and isinstance(details["input"], list) and len(details["input"]) > 1


def _problem(source: Source, details: ErrorDetails) -> Problem:
    location: Loc = details["loc"]
    at_key = location[-1:] == ("[key]",)
    path = location[:-1] if at_key else location
    kind, value = details["type"], details["input"]
    shown = value if isinstance(value, str | int | float) else ""
    if kind == "extra_forbidden":
        return source.problem(path, "unknown key", _known(path), at_key=True)
    if path[-1:] == ("endpoints",) and kind in ("too_short", "too_long"):
        return source.problem(path, "a link has two ends", 'write endpoints: ["r1:eth1", "r2:eth1"]')
    if kind == "missing":
        return source.problem(path, "this key is missing", f"add `{path[-1]}:`")
    if kind == "rule":
        context = details.get("ctx", {})
        return source.problem(path, str(context["rule"]), str(context["remedy"]), value=shown, at_key=at_key)
    if path[-1:] == ("kind",) or (at_key and path[:2] == ("topology", "kinds")):
        remedy = f"use {' or '.join(get_args(Kind))}"
        return source.problem(path, "this kind is not known to the lab", remedy, value=shown, at_key=at_key)
    return source.problem(path, details["msg"], "correct the value", value=shown, at_key=at_key)


def _known(path: Loc) -> str:
    fields = [field.alias or name for name, field in _model_at(path[:-1]).model_fields.items()]
    near = difflib.get_close_matches(str(path[-1]), fields, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(fields)}"


def _model_at(path: Loc) -> type[BaseModel]:
    if path[:1] == ("mgmt",):
        return Management
    if path[:1] != ("topology",):
        return FileDefinition
    if len(path) == 1:
        return TopologyDefinition
    if path[1] == "links":
        return LinkDefinition if len(path) == 3 else EndpointDefinition
    return NodeDefinition
