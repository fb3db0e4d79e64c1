"""What goes over the observation socket, and what waits for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.contracts.interception import (
    Content,
    ContentForm,
    Delivery,
    Direction,
    Event,
    EventKind,
    Identity,
    IdentityKind,
    Loss,
    LossPlace,
)
from nf.interception.frames import (
    FrameError,
    Frames,
    Kind,
    decode_delivery,
    encode_delivery,
    frame,
    json_body,
    message,
    order_json,
    read_order,
)
from nf.interception.outbox import Outbox
from tests.core5g.observation.world import TARGET, order

NUMBERS = st.integers(0, 2**64 - 1)
IDENTITIES = st.builds(Identity, st.sampled_from(IdentityKind), st.text(max_size=20))
DELIVERIES: st.SearchStrategy[Delivery] = st.one_of(
    st.builds(
        Content,
        st.text(max_size=20),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        st.sampled_from(Direction),
        st.sampled_from(ContentForm),
        st.binary(max_size=200),
    ),
    st.builds(
        Event,
        st.text(max_size=20),
        st.sampled_from(EventKind),
        st.floats(0, 4e9),
        NUMBERS,
        NUMBERS,
        st.lists(IDENTITIES, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        st.binary(max_size=50),
    ),
    st.builds(
        Loss,
        st.text(max_size=20),
        st.sampled_from(LossPlace),
        st.floats(0, 4e9),
        st.integers(0, 99),
        st.none() | st.integers(0, 99),
    ),
)


@given(st.lists(DELIVERIES, max_size=4), st.integers(1, 50))
def test_what_is_sent_is_what_is_received_however_the_stream_is_cut(sent: list[Delivery], size: int) -> None:
    stream = b"".join(map(encode_delivery, sent))
    frames = Frames()
    found = [
        decode_delivery(kind, body)
        for at in range(0, len(stream), size)
        for kind, body in frames.receive(stream[at : at + size])
    ]
    assert found == sent


@given(st.binary(max_size=80), st.sampled_from(Kind))
def test_what_nobody_would_send_is_a_frame_error_and_nothing_else(data: bytes, kind: Kind) -> None:
    for call in (lambda: list(Frames().receive(data)), lambda: decode_delivery(kind, data), lambda: json_body(data)):
        with suppress(FrameError):
            call()


def test_orders_are_read_back_and_wrong_ones_refused() -> None:
    assert read_order(order_json(order(content="n6"))) == order(content="n6")
    for wrong in (None, {}, {**order_json(order()), "events": 1}, {**order_json(order()), "identity": {"kind": "x"}}):
        with pytest.raises(FrameError):
            read_order(wrong)
    with pytest.raises(FrameError):
        frame(Kind.EVENT, bytes(1 << 20))
    with pytest.raises(FrameError):
        json_body(b"[]")
    assert next(Frames().receive(message(Kind.ANSWER, {}))) == (Kind.ANSWER, b"{}")


def test_no_text_of_these_types_shows_whom_they_are_about() -> None:
    event = Event("x1", EventKind.LOCATION, 1.0, 0, 0, (order().identity,), {"supi": TARGET})
    assert not any(secret in repr([order(), event, order().identity]) for secret in (TARGET, "x1"))


def content(number: int, reference: str = "x1") -> Content:
    return Content(reference, 0, number, 1, Direction.UNKNOWN, ContentForm.IPV4, bytes(744))


def event(number: int, reference: str = "x1") -> Event:
    return Event(reference, EventKind.LOCATION, 1.0, number, 0, ())


def drained(outbox: Outbox) -> list[Delivery]:
    found = []
    while (one := outbox.take()) is not None:
        found.append(one)
    return found


def test_events_go_before_content_and_what_does_not_fit_is_counted() -> None:
    outbox = Outbox(events=2, octets=3000)
    for number in range(5):
        outbox.put(content(number, f"x{number % 2}"), 7.0)
        outbox.put(event(number), 7.0)
    taken = drained(outbox)
    losses = [one for one in taken if isinstance(one, Loss)]
    assert {(one.reference, one.events, one.copies) for one in losses} == {("x1", 3, 1), ("x0", 0, 1)}
    assert [type(one) for one in taken] == [Loss, Loss, Event, Event, Content, Content, Content]
    outbox.put(content(9), 8.0)
    assert drained(outbox) == [content(9)]


def test_losses_that_nobody_can_count_stay_so() -> None:
    outbox = Outbox()
    unknown = Loss("x1", LossPlace.POINT, 1.0, copies=None)
    outbox.put(unknown, 1.0)
    outbox.put(replace(unknown, at=2.0, events=2, copies=4), 2.0)
    (told,) = drained(outbox)
    assert (told.events, told.copies) == (2, None)  # type: ignore[union-attr]
    outbox.put(replace(unknown, events=None), 1.0)
    outbox.put(replace(unknown, events=1), 1.0)
    (told,) = drained(outbox)
    assert (told.events, told.copies) == (None, None)  # type: ignore[union-attr]


def test_of_an_order_that_is_over_nothing_waits() -> None:
    outbox = Outbox(events=1)
    for reference in ("x1", "x2"):
        outbox.put(event(0, reference), 1.0)
        outbox.put(content(0, reference), 1.0)
    outbox.forget("x1")
    outbox.forget("x2")
    assert drained(outbox) == []
