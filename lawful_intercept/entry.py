"""Where the command `nf-li` begins: Ctrl-C while the rest is still being loaded ends as quietly as later."""

from __future__ import annotations


def main() -> int:
    """Run one command. The exit code of the process."""
    try:
        from lawful_intercept.commands.main import main as run
    except KeyboardInterrupt:
        return 130
    return run()
