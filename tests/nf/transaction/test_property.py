"""Whatever the steps and wherever it fails or is killed: exactly the old state or exactly the new one."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.contracts.driver import Step
from nf.errors import DriverError, NfError
from nf.transaction.ordering import order_stages
from tests.nf.transaction.support import START, Box, config, in_child, make_box

Section = dict[str, str]
VALUES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"), max_size=5)
SECTIONS = ("alpha", "beta", "gamma")
CONFIGS = st.fixed_dictionaries(dict.fromkeys(SECTIONS, VALUES))


async def drive(box: Box, transaction: str, revision: int, wanted: dict[str, Section]) -> None:
    """A commit with stages by the facts of its steps: sections wait for one another in alphabetical order."""
    for before, after in pairwise(SECTIONS):
        chain(box, before, after)
    validated = await box.engine.validate(transaction, revision, config(wanted), accept_irreversible=True)
    steps = [planned.step for planned in validated.steps]
    ordered = order_stages({"box": steps}, validated.facts)
    await box.engine.prepare(transaction, [stage["box"] for stage in ordered], START + 1000)
    for stage in range(len(ordered)):
        await box.engine.apply(transaction, stage)
    await box.engine.verify(transaction)
    await box.engine.confirm(transaction)


def chain(box: Box, before: str, after: str) -> None:
    """Steps of `after` require what is planned for the same key in `before`, when there is such a step."""
    first, second = box.drivers[before], box.drivers[after]
    make = type(second).step

    def step(key: str, value: str | None) -> Step:
        planned = make(second, key, value)
        wanted = box.wanted.get(before, {}).get(key)
        if wanted is not None and first.live().get(key) != wanted:
            return replace(planned, requires=frozenset({f"{before}.{key}={wanted}"}))
        return planned

    second.step = step  # type: ignore[method-assign]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    old=CONFIGS,
    new=CONFIGS,
    fails=st.none()
    | st.tuples(st.sampled_from(SECTIONS), st.sampled_from(["prepare", "apply", "verify"]), st.integers(0, 3)),
    kill=st.integers(1, 60),
    kill_again=st.integers(1, 12),
    late=st.booleans(),
)
def test_old_or_new(
    *,
    old: dict[str, Section],
    new: dict[str, Section],
    fails: tuple[str, str, int] | None,
    kill: int,
    kill_again: int,
    late: bool,
) -> None:
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108 - made afresh
        root = Path(name) / "box"

        async def first() -> None:
            box = make_box(root, sections=SECTIONS)
            await drive(box, "t1", 1, old)
            (root / "killpoint").write_text(f"*#{kill}\n")
            if fails is not None:
                fail_later(box, *fails)
            try:
                box.wanted = new
                await drive(box, "t2", 2, new)
            except NfError:
                await box.engine.abort("t2", "failed")

        async def later() -> None:
            (root / "killpoint").unlink(missing_ok=True)
            box = make_box(root, sections=SECTIONS, clock=VirtualClock(START + (1000 if late else 0)))
            await box.engine.recover()
            flight = box.engine.standing.in_flight
            if flight is not None:
                (root / "killpoint").write_text(f"*#{kill_again}\n")
                await box.engine.abort("t2", "the NOC decided against it")
            (root / "killpoint").unlink(missing_ok=True)
            decided = box.engine.standing.confirmed_revision == 2
            assert box.engine.standing.in_flight is None
            assert box.live() == (new if decided else old)

        in_child(first, Path(name) / "log")
        if root.exists():
            while not in_child(later, Path(name) / "log"):
                pass
            shutil.rmtree(root)


def fail_later(box: Box, section: str, method: str, after: int) -> None:
    """The call number `after` of a method raises."""
    driver, left = box.drivers[section], after
    original = getattr(driver, method)

    async def called(*arguments: object) -> object:
        nonlocal left
        left -= 1
        await asyncio.sleep(0)
        if left == -1:
            raise DriverError("made to fail")
        return await original(*arguments)

    setattr(driver, method, called)
