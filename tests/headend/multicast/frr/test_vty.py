from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.multicast.frr.vty import Reply, ReplyParser, encode_command

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
replies = st.lists(st.builds(Reply, texts, st.integers(0, 255)), max_size=8)


@given(replies, st.lists(st.integers(1, 50), max_size=40))
def test_replies_survive_any_cutting_of_the_stream(sent: list[Reply], cuts: list[int]) -> None:
    stream = b"".join(reply.text.encode() + b"\0\0\0" + bytes([reply.status]) for reply in sent)
    parser = ReplyParser()
    received: list[Reply] = []
    for cut in [*cuts, len(stream)]:
        received += parser.receive(stream[:cut])
        stream = stream[cut:]
    assert received == sent
    assert parser.pending == 0


def test_half_a_reply_stays_pending() -> None:
    parser = ReplyParser()
    assert parser.receive(b"hello\0\0") == ()
    assert parser.receive(b"\0") == ()
    assert parser.receive(b"\x02") == (Reply("hello", 2),)
    assert not Reply("hello", 2).ok


def test_a_command_is_one_line() -> None:
    assert encode_command("show version") == b"show version\0"
    for bad in ("a\0b", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="one line"):
            encode_command(bad)
