"""`nf upgrade`: the bundle goes to the NOC as far as it lacks it, then it is watched; the exit code says how."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nf.control.v1 import upgrade_pb2 as pb
from nf.errors import RefusedError, UnavailableError
from tests.nf.cli.conftest import FakeNoc, Nf
from tests.nf.cli.samples import ANNA, AT

CONTENT = b"x" * 700_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BUNDLE = pb.Bundle(
    sha256=SHA256, size=len(CONTENT), compatible="streamverse-nf-pop-amd64", role="pop", version="0.2.0", at=AT
)


def upgrade(state: str, *members: tuple[str, str, float, str], **values: Any) -> pb.Upgrade:
    return pb.Upgrade(
        id="ab12cd34",
        state=state,
        author=ANNA,
        bundle=BUNDLE,
        created_at=AT,
        waves=2,
        members=[
            pb.UpgradeMember(
                appliance=name, site=name, wave=min(number, 1), state=at, fraction=part, text=text, from_version="0.1.0"
            )
            for number, (name, at, part, text) in enumerate(members)
        ],
        **values,
    )


RUNNING = upgrade("running", ("pop1", "transfer", 0.43, "43 of 100 MiB"), ("pop2", "pending", 0, ""))
DONE = upgrade("done", ("pop1", "good", 1, "runs 0.2.0 from slot B"), ("pop2", "good", 1, "runs 0.2.0 from slot B"))
PAUSED = upgrade(
    "paused",
    ("pop1", "fell-back", 0, "driver frr: not converged"),
    ("pop2", "pending", 0, ""),
    text="pop1: fell back from 0.2.0 to 0.1.0: driver frr: not converged",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pop.raucb"
    path.write_bytes(CONTENT)
    return path


def serve(noc: FakeNoc, *, offset: int = 0, last: pb.Upgrade = DONE) -> list[pb.BundlePiece]:
    """What came with SendBundle."""
    came: list[pb.BundlePiece] = []

    def take(pieces: Any) -> pb.Bundle:
        came.extend(pieces)
        return BUNDLE

    noc.answers |= {
        "OfferBundle": pb.OfferBundleResponse(offset=offset),
        "SendBundle": take,
        "StartUpgrade": RUNNING,
        "WatchUpgrade": [RUNNING, last],
        "ListUpgrades": pb.ListUpgradesResponse(upgrades=[last]),
    }
    return came


def test_a_bundle_is_brought_from_where_the_noc_lacks_it_and_the_upgrade_is_followed(
    nf: Nf, noc: FakeNoc, file: Path
) -> None:
    came = serve(noc, offset=100_000)
    shown = nf("upgrade", "pop", "--bundle", str(file), "--canary", "pop1", "--wave", "2", "--soak", "5m", "--drain")
    assert shown.code == 0
    assert (came[0].sha256, came[0].size, came[0].offset) == (SHA256, len(CONTENT), 100_000)
    assert b"".join(piece.data for piece in came) == CONTENT[100_000:]
    request = noc.requests("StartUpgrade")[0]
    assert (list(request.targets), request.sha256, request.canary) == (["pop"], SHA256, "pop1")
    assert (request.wave, request.soak_s, request.drain, request.again) == (2, 300, True, False)
    assert (request.hold_s, request.patience_s) == (60, 600)
    assert "pop1             transfer 43%: 43 of 100 MiB" in shown.err
    assert "upgrade ab12cd34: pop 0.2.0, done" in shown.out
    assert "runs 0.2.0 from slot B" in shown.out


def test_a_bundle_that_the_noc_has_is_not_sent_again(nf: Nf, noc: FakeNoc, file: Path) -> None:
    came = serve(noc)
    noc.answers["OfferBundle"] = pb.OfferBundleResponse(offset=len(CONTENT), bundle=BUNDLE)
    assert nf("upgrade", "start", "pop1", "--bundle", str(file), "--detach").code == 0
    assert not came
    assert not noc.requests("WatchUpgrade")
    assert nf("upgrade", "pop1", "--bundle", SHA256[:12], "--detach").code == 0
    assert noc.requests("StartUpgrade")[1].sha256 == SHA256[:12]
    assert len(noc.requests("OfferBundle")) == 1


def test_one_that_is_paused_ends_with_its_reason_and_an_exit_code(nf: Nf, noc: FakeNoc, file: Path) -> None:
    serve(noc, last=PAUSED)
    shown = nf("upgrade", "pop", "--bundle", str(file))
    assert shown.code == 9
    assert "paused: pop1: fell back from 0.2.0 to 0.1.0: driver frr: not converged" in shown.err
    assert "nf upgrade resume ab12cd34" in shown.err


def test_a_refusal_names_the_way_out(nf: Nf, noc: FakeNoc, file: Path) -> None:
    serve(noc)
    noc.answers["StartUpgrade"] = RefusedError("pop1 runs 0.3.0, which is later", remedy="--allow-downgrade")
    shown = nf("upgrade", "pop", "--bundle", str(file))
    assert (shown.code, "--allow-downgrade" in shown.err) == (3, True)
    assert nf("upgrade", "pop", "--bundle", str(file.parent / "none.raucb")).code == 2
    assert nf("upgrade", "pop").code == 2


def test_status_history_and_the_rest(nf: Nf, noc: FakeNoc) -> None:
    serve(noc, last=PAUSED)
    assert "fell-back" in nf("upgrade", "status").out
    assert nf("upgrade", "status", "--json").json()["members"][0]["state"] == "fell-back"
    assert "0/2" in nf("upgrade", "history").out
    noc.answers |= {"PauseUpgrade": PAUSED, "CancelUpgrade": PAUSED, "ResumeUpgrade": RUNNING}
    assert nf("upgrade", "pause", "--reason", "later").code == 0
    assert noc.requests("PauseUpgrade")[0].reason == "later"
    assert nf("upgrade", "resume", "ab12", "--detach").code == 0
    assert noc.requests("ResumeUpgrade")[0].id == "ab12"
    assert nf("upgrade", "cancel").code == 0
    noc.answers["ListBundles"] = pb.ListBundlesResponse(bundles=[BUNDLE])
    assert "not checked here" in nf("upgrade", "bundles").out
    noc.answers["RemoveBundle"] = pb.RemoveBundleResponse(bundle=BUNDLE)
    assert "removed pop 0.2.0" in nf("upgrade", "remove", SHA256[:8]).out
    noc.answers["ListUpgrades"] = pb.ListUpgradesResponse()
    assert nf("upgrade", "status").code == 7
    noc.answers["ListUpgrades"] = UnavailableError("away")
    assert nf("upgrade", "history").code == 5
