"""From the fleet's core to the tree of a function's file, from the tree to the file's text, and back. Pure.

A database's credentials are named in the tree, `mongodb://secret:NAME@HOST:PORT/DB`, and stand in the file in clear, so
a file that is read gets their name put back before anybody else sees it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import yaml

from core5g.documents import Core5g, CoreFunction, Upf
from core5g.open5gs.epc import EPC, diameter
from core5g.open5gs.functions import CORE_5G, Tree, upf_tree
from nf.errors import InputError

_HEAD: Final = "# Made by StreamVerse NF: a change by hand is drift and is taken back.\n"
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


def to_text(tree: Mapping[str, Any], resolve: Callable[[str], str] | None = None) -> str:
    """The file. Credentials are resolved, as `USER:PASSWORD` in one line; raises InputError when nothing can do so."""
    uri = tree.get("db_uri")
    whole = dict(tree)
    if isinstance(uri, str) and (found := _REFERENCE.search(uri)):
        whole["db_uri"] = _REFERENCE.sub(lambda _: _credentials(found[0], resolve), uri)
    return _HEAD + yaml.safe_dump(whole, sort_keys=False, default_flow_style=None, width=110)


def _credentials(reference: str, resolve: Callable[[str], str] | None) -> str:
    if resolve is None:
        raise InputError("nothing resolves secrets here", where=reference, remedy="apply it on an appliance")
    user, colon, password = resolve(reference).strip().partition(":")
    if not colon or not user:
        remedy = "write it as USER:PASSWORD, in one line"
        raise InputError("these are no credentials of a database", where=reference, remedy=remedy)
    return f"{quote(user, safe='')}:{quote(password, safe='')}"


def from_text(text: str, reference_of: Mapping[str, Any] | None = None) -> Tree | None:
    """The tree that a file holds, credentials named as in `reference_of`; None when it is no YAML mapping."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if not isinstance(tree, dict):
        return None
    uri, known = tree.get("db_uri"), (reference_of or {}).get("db_uri")
    if isinstance(uri, str) and _CREDENTIALS.search(uri):
        named = _REFERENCE.search(known) if isinstance(known, str) else None
        tree["db_uri"] = _CREDENTIALS.sub(named[0] if named else "secret:unknown", uri)
    return tree
