"""The bounded, coalescing queue, against a model."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.control.channel import FullJitter
from nf.control.queue import CoalescingQueue, QueueClosed


@given(st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers()), max_size=60), st.integers(1, 8))
def test_newest_wins_in_place_and_the_oldest_is_dropped(puts: list[tuple[int | None, int]], limit: int) -> None:
    async def run() -> None:
        queue: CoalescingQueue[int] = CoalescingQueue(limit)
        model: list[tuple[object, int]] = []
        dropped = 0
        for key, value in puts:
            places = [index for index, (known, _) in enumerate(model) if key is not None and known == key]
            if places:
                model[places[0]] = (key, value)
            else:
                if len(model) == limit:
                    model.pop(0)
                    dropped += 1
                model.append((key if key is not None else object(), value))
            queue.put(value, key)
        assert queue.dropped == dropped
        if model:
            taken = await queue.take(1000)
            assert taken.items == tuple(value for _, value in model)
            assert taken.dropped == dropped
            assert queue.dropped == 0

    asyncio.run(run())


async def test_a_taker_waits_and_a_closed_queue_ends() -> None:
    queue: CoalescingQueue[str] = CoalescingQueue(4)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.put("a")
    assert (await waiting).items == ("a",)
    queue.put("b")
    queue.close()
    assert not queue.put("c")
    assert (await queue.take()).items == ("b",)
    with pytest.raises(QueueClosed):
        await queue.take()


@given(st.floats(0.01, 5), st.floats(5, 60), st.integers(0, 2**32))
def test_full_jitter_stays_in_its_bounds(base: float, cap: float, seed: int) -> None:
    delays = FullJitter(base, cap, random.Random(seed))  # noqa: S311 - repeatable on purpose
    for attempt in range(40):
        assert 0 <= delays.next_s() <= min(cap, base * 2**attempt)
    delays.reset()
    assert delays.next_s() <= base
