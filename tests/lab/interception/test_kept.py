"""What is asked in one process is what each command prints, and evidence that was kept is judged as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.interception.asking import ask
from lab.interception.evidence import Evidence
from lab.interception.judge import Round, compare_runs, judge
from lab.interception.mask import Mask
from nf.exit_codes import ExitCode

MASK = Mask.model_validate(
    {
        "numbers": [
            {
                "id": "rate",
                "sources": ["noc:*"],
                "pattern": r"rate_bps: (\d+)$",
                "relative": 0.1,
                "reason": "it is measured",
            }
        ]
    }
)


def seen(*values: int) -> Evidence:
    made = Evidence()
    made.add("noc:show", [f"hops[].rate_bps: {value}" for value in values])
    return made


def test_commands_in_one_process_print_what_they_would() -> None:
    code, out, err = ask(("version",))
    assert (code, err) == (0, "")
    assert out.startswith("streamverse-nf ")
    code, out, err = ask(("lineup", "nonsense"))
    assert (code, out) == (ExitCode.INPUT, "")
    assert "nonsense" in err
    assert ask(("version",))[0] == 0


def test_kept_evidence_is_judged_as_before(tmp_path: Path) -> None:
    runs = [seen(100, 200), seen(105, 195), seen(100, 300)]
    for one in runs:
        one.add_figures("interface:packets", {"pop1 eth1 in": 7.5})
        one.add_samples("rtp:under way", [0.02, 0.021])
    for name, one in zip(("without-1", "without-2", "with"), runs, strict=True):
        one.save(tmp_path / f"{name}.json.gz")
    kept = Round.kept(tmp_path)
    assert kept.with_.items == runs[2].items
    assert kept.with_.figures == runs[2].figures
    assert np.array_equal(kept.without[1].samples["rtp:under way"], runs[1].samples["rtp:under way"])
    assert judge([kept], MASK).text() == judge([Round((runs[0], runs[1]), runs[2])], MASK).text()


@pytest.mark.parametrize(
    ("with_task", "told"),
    [
        ((100, 200), ""),
        ((110, 210), ""),
        ((100, 300), "noc:show: hops[].rate_bps: #: without a task 200, 195, with one 300"),
        ((10, 200), "noc:show: hops[].rate_bps: #: without a task 100, 105, with one 10"),
        ((100, 150, 200), "noc:show: hops[].rate_bps: #: without a task 2, with one 3"),
    ],
)
def test_a_number_is_compared_by_its_least_and_its_greatest(with_task: tuple[int, ...], told: str) -> None:
    assert compare_runs(seen(100, 200), seen(105, 195), seen(*with_task), MASK).text() == told


def test_a_number_of_the_mask_has_one_group() -> None:
    with pytest.raises(ValueError, match="one group"):
        Mask.model_validate({"numbers": [MASK.numbers[0].model_dump() | {"pattern": "rate_bps: [0-9]+"}]})
