"""From the fleet's core to the tree of a function's file, from the tree to the file's text, and back. Pure.

A database's credentials are named in the tree, `mongodb://secret:NAME@HOST:PORT/DB`, and stand in the file in clear, so
a file that is read gets their name put back before anybody else sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import yaml

from core5g.documents import Core5g, CoreFunction, Upf
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.epc import EPC, diameter
from core5g.open5gs.functions import CORE_5G, Tree, upf_tree
from nf.contracts.json import JsonObject, canonical
from nf.errors import InputError

_HEAD: Final = "# Made by StreamVerse NF: a change by hand is drift and is taken back.\n"
_OURS: Final = "# nf: "
_NAMED: Final = "credentials"
_REFERENCE: Final = re.compile(r"(?<=://)(secret:[a-z][a-z0-9-]{0,38})(?=@)")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^@/]*(?=@)")


def function_tree(core: Core5g, function: CoreFunction) -> Tree:
    """The SMF has a Gx where there is a PCRF."""
    if function.kind in EPC:
        return EPC[function.kind](core, function)
    tree = CORE_5G[function.kind](core, function)
    if function.kind == "smf":
        tree["smf"] |= diameter(core, function)
    return tree


def tree_of_upf(core: Core5g, upf: Upf) -> Tree:
    return upf_tree(core, upf)


def to_text(function: ManagedFunction, resolve: Callable[[str], str] | None = None) -> str:
    """The file. Its head says in a comment what else the section says of the function.

    Credentials are resolved, as `USER:PASSWORD` in one line; raises InputError when nothing can do so.
    """
    tree = dict(function.config)
    head: JsonObject = {key: value for key, value in function.to_json().items() if key != "config"}
    uri = tree.get("db_uri")
    if isinstance(uri, str) and (found := _REFERENCE.search(uri)):
        head[_NAMED] = found[0]
        credentials = _credentials(found[0], resolve)
        tree["db_uri"] = _REFERENCE.sub(lambda _: credentials, uri)
    return f"{_HEAD}{_OURS}{canonical(head)}\n" + yaml.safe_dump(
        tree, sort_keys=False, default_flow_style=None, width=110
    )


def _credentials(reference: str, resolve: Callable[[str], str] | None) -> str:
    if resolve is None:
        raise InputError("nothing resolves secrets here", where=reference, remedy="apply it on an appliance")
    user, colon, password = resolve(reference).strip().partition(":")
    if not colon or not user:
        remedy = "write it as USER:PASSWORD, in one line"
        raise InputError("these are no credentials of a database", where=reference, remedy=remedy)
    return f"{quote(user, safe='')}:{quote(password, safe='')}"


def from_text(text: str) -> ManagedFunction | None:
    """What a file says, credentials named again; None when it is not one of ours, or no longer."""
    line = next((line for line in text.splitlines() if line.startswith(_OURS)), None)
    if line is None:
        return None
    try:
        head, tree = json.loads(line.removeprefix(_OURS)), yaml.safe_load(text)
        if not isinstance(head, dict) or not isinstance(tree, dict):
            return None
        reference, uri = head.pop(_NAMED, None), tree.get("db_uri")
        if isinstance(uri, str) and _CREDENTIALS.search(uri):
            tree["db_uri"] = _CREDENTIALS.sub(str(reference or "secret:unknown"), uri)
        return ManagedFunction.model_validate({**head, "config": tree})
    except (ValueError, yaml.YAMLError):
        return None
