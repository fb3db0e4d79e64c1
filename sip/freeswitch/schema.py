"""Whether a configuration has the form that ours has: RELAX NG, `freeswitch.rng` beside this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from lxml import etree

from nf.errors import Problem

_SCHEMA: Final = Path(__file__).with_name("freeswitch.rng")


@cache
def _schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(_SCHEMA))


def problems(text: str) -> tuple[Problem, ...]:
    """What is not as it has to be, by line. No value is quoted: one is a password. Pure."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    remedy = "this is a mistake in the software, not in a document: report it with the section"
    try:
        tree = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        return (Problem("it is no XML", remedy, line=error.lineno or 0, column=1, key="freeswitch.xml"),)
    schema = _schema()
    if schema.validate(tree):
        return ()
    places = sorted({(one.line, one.path or "") for one in schema.error_log})
    return tuple(
        Problem("its form is not that of the schema", remedy, line=line, column=1, key=f"freeswitch.xml {path}".strip())
        for line, path in places
    )
