"""Another's view of what the handover writes: our wording of the module, compiled by pycrate."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pycrate_asn1c.asnproc import PycrateGenerator, compile_text, generate_modules


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The compiled module: `.PS_PDU` and the types in it."""
    text = Path(__file__).with_name("ps_pdu.asn").read_text()
    path = tmp_path_factory.mktemp("asn1") / "ps_pdu_module.py"
    compile_text(text)
    generate_modules(PycrateGenerator, str(path))
    spec = importlib.util.spec_from_file_location("ps_pdu_module", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.Handover
