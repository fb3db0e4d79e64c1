"""Documents that are no X1: the codec reads them or says what is wrong, no more; what it reads it writes back."""

from __future__ import annotations

import contextlib
import random
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from lawful_intercept.x1 import codec
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1 import extensions as x
from lawful_intercept.x1.faults import X1Fault
from lawful_intercept.x1.messages import Extension
from tests.support import x1

TEXTS = ["", " ", "0", "-1", "9" * 40, "true", "X2Only", "\u0662", "a" * 5000, "2026-02-30T00:00:00.000000Z", "]]>"]
NAMES = ["xId", "dId", "taskDetails", "listOfDIDs", "Owner", "targetIdentifier", "sipUri", "nobody"]
SPACES = ["http://uri.etsi.org/03221/X1/2017/10", "http://uri.etsi.org/03280/common/2017/07", "urn:another"]


def read(octets: bytes) -> None:
    with contextlib.suppress(X1Fault):
        requests = [each for each in codec.decode_requests(octets) if isinstance(each, e.Request)]
        assert not requests or codec.decode_requests(codec.encode_requests(requests)) == tuple(requests)
    with contextlib.suppress(X1Fault):
        responses = codec.decode_responses(octets)
        if not isinstance(responses, e.TopLevelError):
            assert codec.decode_responses(codec.encode_responses(responses)) == responses


documents = st.one_of(
    st.lists(st.builds(e.Request, x1.headers, x1.requests), min_size=1, max_size=2).map(codec.encode_requests),
    st.lists(st.builds(e.Response, x1.headers, x1.responses), min_size=1, max_size=2).map(codec.encode_responses),
)


def bent(octets: bytes, chance: random.Random) -> bytes:
    """A document with some of its elements moved, doubled, renamed, emptied or filled."""
    root = etree.fromstring(octets)
    for _ in range(chance.randint(1, 3)):
        nodes = list(root.iter())
        node = chance.choice(nodes)
        parent = node.getparent()
        match chance.randrange(8):
            case 0:
                node.text = chance.choice(TEXTS)
            case 1:
                node.tag = f"{{{chance.choice(SPACES)}}}{chance.choice(NAMES)}"
            case 2:
                node.set(chance.choice(["a", f"{{{SPACES[2]}}}b", codec.xml.XSI_TYPE]), chance.choice(TEXTS[:5]))
            case 3:
                node.tail = chance.choice(TEXTS)
            case 4 if parent is not None:
                parent.remove(node)
            case 5 if parent is not None:
                parent.insert(chance.randint(0, len(parent)), deepcopy(node))
            case 6 if parent is not None:
                parent.insert(chance.randint(0, len(parent)), node)
            case _:
                node.append(deepcopy(chance.choice(nodes)))
    return bytes(etree.tostring(root))


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    read(octets)


@given(documents, st.randoms(use_true_random=False))
def test_any_document_that_was_bent(octets: bytes, chance: random.Random) -> None:
    read(bent(octets, chance))


@given(documents, st.data())
def test_any_document_with_octets_changed(octets: bytes, data: st.DataObject) -> None:
    changed = bytearray(octets)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(changed))


@given(x1.handovers, st.randoms(use_true_random=False))
def test_any_handover_settings_that_were_bent(settings: x.HandoverSettings, chance: random.Random) -> None:
    (octets,) = x.handover_extension(settings).content
    with contextlib.suppress(X1Fault):
        x.handover_of([Extension(x.OWNER, (bent(octets, chance),))])
