"""Documents as YAML that people edit: only what differs from the defaults, with a comment where a person must look."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from nf.documents.model import Document

PLEASE_CHECK: Final = "please check"

Place = tuple[str | int, ...]
"""Keys and indexes from the document's root, such as ("spec", "channels", 0, "lcn")."""


def write_document(document: Document, doubts: Iterable[Place] = (), head: Iterable[str] = ()) -> str:
    """YAML 1.2 that the loader reads back into an equal document. `doubts`: values that get the comment
    `# please check`; one that is a default is written out. `head`: comment lines above the document."""
    data = document.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    full = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    root = _commented(data)
    for place in doubts:
        parent: Any = root
        whole: Any = full
        for key in place[:-1]:
            parent, whole = parent[key], whole[key]
        parent.setdefault(place[-1], _commented(whole[place[-1]]))
        parent.yaml_add_eol_comment(PLEASE_CHECK, place[-1])
    yaml = YAML()
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    buffer = io.StringIO()
    yaml.dump(root, buffer)
    return "".join(f"# {line}\n" for line in head) + buffer.getvalue()


def _commented(value: Any) -> Any:
    """Lists of plain values stand on one line, so that a comment behind them is a comment of all."""
    if isinstance(value, dict):
        return CommentedMap({key: _commented(inner) for key, inner in value.items()})
    if isinstance(value, list):
        sequence = CommentedSeq([_commented(inner) for inner in value])
        if not any(isinstance(inner, dict | list) for inner in value):
            sequence.fa.set_flow_style()
        return sequence
    return value
