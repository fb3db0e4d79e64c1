"""What can go wrong on FreeSWITCH's event socket; all of it is of `nf.errors`' tree.

UnavailableError ── ConnectionLost   nobody listens there, or the connection broke; the command may have been done
DeadlineError    ── CommandTimeout   no answer in time; the command may yet be done
RefusedError     ── CommandRefused   the answer began with -ERR or -USAGE
IdentityError    ── LoginRefused     wrong password
DeniedError      ── AddressRefused   its access list does not have our address
DriverError      ── FrameError       what came is no event socket's protocol, or larger than it may be
"""

from __future__ import annotations

from nf.errors import DeadlineError, DeniedError, DriverError, IdentityError, RefusedError, UnavailableError


class ConnectionLost(UnavailableError):  # noqa: N818 - it reads as what happened
    pass


class CommandTimeout(DeadlineError):  # noqa: N818 - same
    pass


class CommandRefused(RefusedError):  # noqa: N818 - same
    pass


class LoginRefused(IdentityError):  # noqa: N818 - same
    pass


class AddressRefused(DeniedError):  # noqa: N818 - same
    pass


class FrameError(DriverError):
    pass
