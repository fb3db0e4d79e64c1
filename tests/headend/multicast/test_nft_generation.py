"""The generation of nftables: another one after each change, and only then."""

from __future__ import annotations

import subprocess

import pytest

from headend.multicast.nft_generation import generation

pytestmark = [pytest.mark.root]


def nft(*words: str) -> None:
    subprocess.run(("nft", *words), check=True)


def test_it_changes_with_every_transaction_and_only_then() -> None:
    before = generation()
    assert before is not None
    assert generation() == before
    nft("add", "table", "inet", "nf_test_generation")
    try:
        with_table = generation()
        assert with_table is not None
        assert with_table != before
        nft("list", "ruleset")
        assert generation() == with_table
    finally:
        nft("delete", "table", "inet", "nf_test_generation")
    assert generation() not in {before, with_table}
