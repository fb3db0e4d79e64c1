"""XML of X1: a parser that takes nothing but elements and text, a cursor that keeps their order, and a writer. Pure.

Document type declarations are refused before anything is parsed, so that there are no entities; nothing is loaded from
anywhere. What is refused raises `X1Fault` with 1010 and says where in the schema, never what stood there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from lxml import etree

from lawful_intercept.x1.faults import Code, X1Fault
from nf.errors import InputError

T = TypeVar("T")

X1: Final = "http://uri.etsi.org/03221/X1/2017/10"
COMMON: Final = "http://uri.etsi.org/03280/common/2017/07"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSI_TYPE: Final = f"{{{XSI}}}type"
PREFIXES: Final = {"x1": X1, "c": COMMON, "xsi": XSI}

REQUEST_LIMIT: Final = 1 << 20
"""Octets of a request."""
RESPONSE_LIMIT: Final = 32 << 20
"""Octets of a response: all tasks and destinations of an element, some 20,000."""
DEPTH_LIMIT: Final = 32

_DECLARATION: Final = re.compile(r"<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"']*)[\"'][^>]*\?>")
SCHEMA_HINTS: Final = frozenset({f"{{{XSI}}}schemaLocation", f"{{{XSI}}}noNamespaceSchemaLocation"})


def syntax(what: str) -> X1Fault:
    return X1Fault(Code.SYNTAX, what)


def parse(octets: bytes, limit: int) -> etree._Element:
    """The root of a document. Raises X1Fault (1010): too large, not UTF-8, with a DTD, not well-formed, too deep."""
    if len(octets) > limit:
        raise syntax("the document is too large")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise syntax("the document is not UTF-8") from None
    declared = _DECLARATION.match(text)
    if declared is not None and declared[1].lower() not in {"utf-8", "us-ascii"}:
        raise syntax("the document is not UTF-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise syntax("document type declarations are not accepted")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, ValueError):
        raise syntax("the document is not well-formed XML") from None
    _check_depth(root)
    return root


def _check_depth(root: etree._Element) -> None:
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > DEPTH_LIMIT:
            raise syntax("the document is nested too deeply")


class Reader:
    """Reads the children of one element in the schema's order; what is not asked for is refused at `end`.

    Raises X1Fault (1010). `attributes`: names that may stand on the element.
    """

    def __init__(self, node: etree._Element, attributes: frozenset[str] = frozenset()) -> None:
        self._node = node
        self._children = list(node)
        self._next = 0
        self._name = local(node)
        if not set(node.attrib) <= attributes:
            raise syntax(f"{self._name} has an attribute that is not known")
        if _has_text(node.text) or any(_has_text(each.tail) for each in self._children):
            raise syntax(f"{self._name} has text between its elements")

    def peek(self, name: str, namespace: str = X1) -> bool:
        return self._next < len(self._children) and self._children[self._next].tag == f"{{{namespace}}}{name}"

    def maybe(self, name: str, namespace: str = X1) -> etree._Element | None:
        if not self.peek(name, namespace):
            return None
        self._next += 1
        return self._children[self._next - 1]

    def one(self, name: str, namespace: str = X1) -> etree._Element:
        found = self.maybe(name, namespace)
        if found is None:
            raise syntax(f"{self._name} has no {name}, or not where it belongs")
        return found

    def every(self, name: str, namespace: str = X1) -> Iterator[etree._Element]:
        while (found := self.maybe(name, namespace)) is not None:
            yield found

    def foreign(self) -> Iterator[etree._Element]:
        """Elements of other namespaces than X1's (`any`, `##other`)."""
        while self._next < len(self._children):
            node = self._children[self._next]
            if not str(node.tag).startswith("{") or str(node.tag).startswith(f"{{{X1}}}"):
                return
            self._next += 1
            yield node

    def rest(self) -> tuple[bytes, ...]:
        """Everything that is left, whatever it is, as canonical XML."""
        left, self._next = self._children[self._next :], len(self._children)
        return tuple(canonical(node) for node in left)

    def end(self) -> None:
        if self._next < len(self._children):
            raise syntax(f"{self._name} has an element that is not known, or not where it belongs")


def local(node: etree._Element) -> str:
    """Its name where it is one of ours, else no more than that it is another's: names from outside are not repeated."""
    tag = etree.QName(node)
    return tag.localname if tag.namespace in {X1, COMMON} and len(tag.localname) <= 64 else "an element"


def text_of(node: etree._Element) -> str:
    """The text of an element that has nothing else."""
    if len(node) or node.attrib:
        raise syntax(f"{local(node)} holds more than text")
    return str(node.text or "")


def token_of(node: etree._Element) -> str:
    """As xs:token: white space collapsed."""
    return " ".join(text_of(node).split())


def value_of(node: etree._Element, read: Callable[[str], T], *, exact: bool = False) -> T:
    """`read` of the text; ValueError, KeyError and InputError become a fault that names the element alone."""
    try:
        return read(text_of(node) if exact else token_of(node))
    except (ValueError, KeyError, InputError):
        raise syntax(f"{local(node)} is not one") from None


def optional(reader: Reader, name: str, read: Callable[[str], T]) -> T | None:
    """`value_of` the next element if that is its name, else None."""
    node = reader.maybe(name)
    return None if node is None else value_of(node, read)


def natural(text: str) -> int:
    """A number from 0, at most 20 digits. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,20}", text) is None:
        raise ValueError
    return int(text)


def integer(text: str) -> int:
    """Raises ValueError."""
    return -natural(text[1:]) if text.startswith("-") else natural(text)


def boolean(text: str) -> bool:
    """xs:boolean. Raises KeyError."""
    return {"true": True, "1": True, "false": False, "0": False}[text]


def canonical(node: etree._Element) -> bytes:
    """Exclusive C14N of one element, without what follows it, and one prefix for a namespace: written into a document
    and read again it is the same. Raises X1Fault (1010) for relative namespaces."""
    octets = _c14n(node)
    if octets.count(b"xmlns") > 1:
        scratch = root_element("scratch")
        put_canonical(scratch, octets)
        octets = _c14n(scratch[0])
    return octets


def _c14n(node: etree._Element) -> bytes:
    try:
        return bytes(etree.tostring(node, method="c14n", exclusive=True, with_tail=False))
    except etree.C14NError:
        raise syntax(f"{local(node)} has no canonical form") from None


def _has_text(text: str | None) -> bool:
    return text is not None and text.strip(" \t\r\n") != ""


def root_element(name: str) -> etree._Element:
    return etree.Element(f"{{{X1}}}{name}", nsmap=PREFIXES)


def put(parent: etree._Element, name: str, text: str | None = None, namespace: str = X1) -> etree._Element:
    """A new child. Raises InputError where XML cannot hold the text."""
    node = etree.SubElement(parent, f"{{{namespace}}}{name}")
    try:
        node.text = text
    except ValueError:
        raise InputError(f"{name} holds characters that XML cannot carry", remedy="remove control characters") from None
    return node


def put_canonical(parent: etree._Element, octets: bytes) -> None:
    """Raises X1Fault (1010) where they are no element."""
    parent.append(parse(octets, REQUEST_LIMIT))


def serialise(root: etree._Element) -> bytes:
    return bytes(etree.tostring(root, encoding="UTF-8", xml_declaration=True))
