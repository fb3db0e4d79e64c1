"""Commands of domains get the documents that the NOC has committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nf.control.v1 import noc_pb2
from nf.errors import UnavailableError

DOCUMENTS = Path(__file__).parents[3] / "lab" / "documents"


def answer() -> noc_pb2.GetRevisionResponse:
    def text(name: str) -> noc_pb2.DocumentText:
        return noc_pb2.DocumentText(file=name, text=(DOCUMENTS / name).read_bytes())

    return noc_pb2.GetRevisionResponse(lineup=text("lineup-protected.yaml"), fleet=text("fleet.yaml"))


def test_a_tree_of_what_is_committed(nf: Any, noc: Any) -> None:
    noc.answers["GetRevision"] = answer()
    shown = nf("tree", "show")
    assert (shown.code, shown.err) == (0, "")
    assert "ch1/twin" in shown.out
    assert noc.requests("GetRevision")[0].revision == 0
    paths = nf("tree", "plan", "--channel", "ch1", "--path", "twin", "--json").json()["paths"]
    assert [leg["leg"] for leg in paths[0]["legs"]] == ["a", "b"]


def test_one_document_from_a_file_the_other_from_the_noc(nf: Any, noc: Any) -> None:
    noc.answers["GetRevision"] = answer()
    shown = nf("tree", "show", "--lineup", str(DOCUMENTS / "lineup-three.yaml"))
    assert "ch3/iptv" in shown.out
    assert "twin" not in shown.out


def test_a_noc_that_does_not_answer_is_told(nf: Any, noc: Any) -> None:
    noc.answers["GetRevision"] = UnavailableError("shutting down")
    shown = nf("tree", "show")
    assert shown.code != 0
    assert "shutting down" in shown.err
    noc.calls.clear()
    files = ("--lineup", str(DOCUMENTS / "lineup.yaml"), "--fleet", str(DOCUMENTS / "fleet.yaml"))
    assert nf("tree", "whatif", "--node", "c1", *files).code == 0
    assert not noc.calls
