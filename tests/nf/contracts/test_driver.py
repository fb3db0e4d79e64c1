"""What drivers share: waiting for the live thing, units, and the section that is theirs."""

from __future__ import annotations

import asyncio
from unittest.mock import call, create_autospec

import pytest

from nf.clock import VirtualClock
from nf.contracts.driver import Context
from nf.contracts.units import Units, UnitSpec, UnitState, UnitStatus, bring_up
from nf.documents.model import Document, Metadata
from nf.errors import InputError


def test_the_live_thing_is_looked_at_until_time_is_over() -> None:
    clock = VirtualClock()
    context = Context(clock, clock.monotonic() + 1.0)

    async def looks() -> list[float]:
        at = [context.remaining()]
        while await context.again(0.4):
            at.append(context.remaining())
        return at

    async def main() -> list[float]:
        looking = asyncio.create_task(looks())
        await clock.advance(0.9)
        assert not looking.done()
        await clock.advance(0.1)
        return await looking

    assert asyncio.run(main()) == pytest.approx([1.0, 0.6, 0.2, 0.0])


def test_a_cancelled_call_looks_no_more() -> None:
    clock = VirtualClock()
    context = Context(clock, clock.monotonic() + 1.0)
    context.cancel.set()
    assert not asyncio.run(context.again(0.4))


@pytest.mark.parametrize("state", UnitState)
def test_a_unit_that_runs_is_started_anew(state: UnitState) -> None:
    units, spec = create_autospec(Units), UnitSpec("one", ("/bin/true",))
    asyncio.run(bring_up(units, spec, UnitStatus("one", state, None, 0.0, 0)))
    begun = call.start("one") if state in {UnitState.STOPPED, UnitState.FAILED} else call.restart("one")
    assert units.mock_calls == [call.define(spec), begun]


def test_a_unit_that_is_not_there_is_started() -> None:
    units, spec = create_autospec(Units), UnitSpec("one", ("/bin/true",))
    asyncio.run(bring_up(units, spec, None))
    assert units.mock_calls == [call.define(spec), call.start("one")]


def test_an_option_of_a_unit_is_read_back() -> None:
    spec = UnitSpec("one", ("/bin/one", "--section", "{}", "--last"))
    assert [spec.option(name) for name in ("--section", "--last", "--other")] == ["{}", None, None]


def test_a_driver_takes_its_own_section_alone() -> None:
    own = Metadata(name="one")
    assert Metadata.narrowed(own) is own
    assert Metadata.narrowed(None) is None
    with pytest.raises(InputError, match="a Metadata in place of a Document"):
        Document.narrowed(own)
