"""Where the command `nf` begins: Ctrl-C while the rest is still being loaded ends as quietly as later."""

from __future__ import annotations

from nf.exit_codes import ExitCode


def main() -> int:
    """Run one command. The exit code of the process."""
    try:
        from nf.cli.main import main as run
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return run()
