"""`nf image verify`: is this image what was built, and by whom; offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nf.contracts.noc_client import CLIENT
from nf.errors import IntegrityError

if TYPE_CHECKING:
    from images.supply.checks import Verification


def verify(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE|DIR", help="disk.img, a .raucb, or the directory of a build.", show_default=False),
    ],
    *,
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            metavar="DIR",
            help="The maker's public keys: manifest.pub, db.crt, bundle-ca.crt. No private key is read.",
            show_default=False,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON; errors too, on stderr.")] = False,
) -> None:
    """Check all signatures and digests of an image, without a network, and say of each what was found.

    Exit code 9 when anything failed, or when something that belongs to it could not be checked.
    """
    from images.commands.progress import Terminal
    from images.supply.keyring import load_keyring
    from images.supply.verify import verify as judge

    keyring = load_keyring(keys)
    with Terminal(lines=False) as progress:  # the table says it all afterwards
        found = judge(path, keyring, report=progress.report)
    client = CLIENT.get()
    if json:
        client.print_json(_as_json(found))
    else:
        ordered = (*found.failed, *found.unchecked, *found.passed)
        rows = tuple((one.verdict.value, one.subject, one.what, one.reason) for one in ordered)
        client.print_table(("VERDICT", "ARTEFACT", "CHECK", "REASON"), rows)
        for note in found.notes:
            client.say(f"note: {note}")
    if not found.is_good:
        raise _refusal(found)
    if not json:
        client.say(f"{path}: good ({found.kind}, {len(found.checks)} checks)")


def _refusal(found: Verification) -> IntegrityError:
    failed, unchecked = len(found.failed), len(found.unchecked)
    told = [f"{failed} of {len(found.checks)} checks failed"] if failed else []
    told += [f"{unchecked} could not be done"] if unchecked else []
    remedy = "do not flash or install it" if failed else "have manifest.json beside it, and all three public keys"
    return IntegrityError(", ".join(told) or "nothing could be checked", where=found.path, remedy=remedy)


def _as_json(found: Verification) -> dict[str, Any]:
    return {
        "path": found.path,
        "kind": found.kind,
        "good": found.is_good,
        "checks": [
            {"artefact": one.subject, "check": one.what, "verdict": one.verdict.value, "reason": one.reason}
            for one in found.checks
        ],
        "notes": list(found.notes),
    }
