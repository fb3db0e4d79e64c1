"""Another's view of what the handover writes: our wording of the module, compiled by pycrate."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pycrate_asn1c.asnproc import PycrateGenerator, compile_text, generate_modules

from tests.lawful_intercept import wire


@functools.cache
def _compiled() -> Any:
    text = Path(__file__).with_name("ps_pdu.asn").read_text()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ps_pdu_module.py"
        compile_text(text)
        generate_modules(PycrateGenerator, str(path))
        spec = importlib.util.spec_from_file_location("ps_pdu_module", path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    return loaded.Handover


@pytest.fixture(scope="session")
def module() -> Any:
    """The compiled module: `.PS_PDU` and the types in it."""
    return _compiled()


@pytest.fixture(scope="module", autouse=True)
def _judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All that a module of tests has put on a wire."""
    wire.SEEN.taken()
    yield
    seen = wire.SEEN.taken()
    if seen.handed_over or seen.intercepted:
        wire.judge(seen, _compiled, tmp_path_factory.mktemp("wire"))
