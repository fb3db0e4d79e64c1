"""The last line of a commit: what became of it, and the exit code that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nf.cli.output import print_json, say
from nf.errors import CommitRefused, NfError, UnavailableError
from nf.exit_codes import Ended, ExitCode

if TYPE_CHECKING:
    from nf.control.v1.noc_pb2 import CommitEvent


def conclude(last: CommitEvent | None, appliances: int, *, as_json: bool) -> None:
    """Print the verdict. Raises `Ended` when the line-up was refused, or undone without being asked to."""
    from nf.cli.wire import to_json
    from nf.control.v1 import noc_pb2

    if last is None or last.outcome == noc_pb2.OUTCOME_UNSPECIFIED:
        raise UnavailableError(
            "the NOC ended the answer without an outcome", remedy="`nf lineup history` shows what it decided"
        )
    if as_json:
        data = to_json(last)
        keys = ("outcome", "revision", "transaction", "held_until", "text", "error", "drained")
        print_json({key: data[key] for key in keys})
    bad = {
        noc_pb2.OUTCOME_REFUSED: ("refused; nothing was changed", ExitCode.REFUSED),
        noc_pb2.OUTCOME_UNDONE: ("undone; everything is as it was before", ExitCode.UNDONE),
    }
    if last.outcome in bad and not _as_asked(last):
        summary, code = bad[last.outcome]
        raise Ended(_why(last, summary), code)
    if not as_json:
        say(_good(last, appliances))


def _as_asked(last: CommitEvent) -> bool:
    """A held line-up that was undone by `nf lineup rollback`: the one undoing that has no error."""
    from nf.control.v1 import noc_pb2

    return last.outcome == noc_pb2.OUTCOME_UNDONE and not last.HasField("error")


def _why(last: CommitEvent, summary: str) -> NfError:
    """The error that stopped it, under a headline that says what that means for the fleet."""
    from nf.control.errors import from_info

    if not last.HasField("error"):
        return CommitRefused(f"{summary}: {last.text}" if last.text else summary, where=_revision(last))
    error = from_info(last.error)
    error.message = f"{summary}: {error.message}"
    error.where = " ".join(part for part in (_revision(last), error.where) if part)
    return error


def _revision(last: CommitEvent) -> str:
    return f"revision {last.revision}" if last.revision else ""


def _good(last: CommitEvent, appliances: int) -> str:
    from nf.cli.text import plural, when
    from nf.control.v1 import noc_pb2

    where = f" on {plural(appliances, 'appliance')}" if appliances else ""
    if last.outcome == noc_pb2.OUTCOME_UNCHANGED:
        return f"unchanged: the fleet already is what the line-up says (revision {last.revision})"
    if last.outcome == noc_pb2.OUTCOME_UNDONE and not last.revision:
        return f"stopped as asked: {last.text}"
    if last.outcome == noc_pb2.OUTCOME_UNDONE:
        return f"undone as asked: revision {last.revision}, which was held, is {last.text}"
    if last.outcome == noc_pb2.OUTCOME_HELD:
        return (
            f"held: revision {last.revision} runs{where}{_drained(last)}; "
            f"`nf lineup confirm` before {when(last.held_until)} keeps it, else every appliance takes it back"
        )
    return f"confirmed: revision {last.revision}{where}{_drained(last)}" + (f"; {last.text}" if last.text else "")


def _drained(last: CommitEvent) -> str:
    """What was dropped in spite of the drain; without one of anything, nothing."""
    return "".join(f"; {one.object} still had {one.left:,} of {one.before:,}" for one in last.drained if one.left)
