"""Operation `voice-turn-credentials` of the driver `turn`: credentials for a browser, made where the secret is.

Arguments: `user` (nf), `ttl_s` for which new allocations are taken (3600). Result: what a page gives to its
RTCPeerConnection (`iceServers`: urls, username, credential), and `until`, in seconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from nf.contracts.driver import Checkpoint, Context
from nf.contracts.json import Json, JsonObject
from nf.documents.model import RuleError
from nf.errors import InputError, RefusedError
from sip.operations import TURN_CREDENTIALS
from sip.webrtc.credentials import turn_credentials
from sip.webrtc.documents import TurnSection
from sip.webrtc.places import Resolve
from sip.webrtc.secret import shared

TTL_S: Final = 3600
LONGEST_S: Final = 86_400
_USER: Final = "nf"


class Issue:
    """`standing`: the section of what is here; None: nothing is."""

    def __init__(self, standing: Callable[[], TurnSection | None], secrets: Resolve) -> None:
        self._standing, self._secrets = standing, secrets

    async def run(self, arguments: JsonObject, checkpoint: Checkpoint, context: Context) -> JsonObject:  # noqa: ARG002 - the contract's
        """Raises InputError, RefusedError (no TURN server is here), and what reading the secret raises."""
        section = self._standing()
        if section is None:
            raise RefusedError(
                "no TURN server is on this appliance", where=TURN_CREDENTIALS, remedy="see nf lineup show"
            )
        user, ttl_s = arguments.get("user", _USER), arguments.get("ttl_s", TTL_S)
        if not isinstance(ttl_s, int) or isinstance(ttl_s, bool) or not 1 <= ttl_s <= LONGEST_S:
            raise InputError(f"`ttl_s` is a whole number from 1 to {LONGEST_S:,}", where=TURN_CREDENTIALS)
        resolve = context.resolve_secret or self._secrets
        value = await asyncio.to_thread(resolve, section.turn.secret)
        try:
            made = turn_credentials(shared(value, section.turn.secret), str(user), context.clock.now() + ttl_s)
        except RuleError as error:
            raise InputError(error.rule, where="user", remedy=error.remedy) from None
        urls: list[Json] = [*_urls(section)]
        server: JsonObject = {"urls": urls, "username": made.username, "credential": made.password}
        return {"iceServers": [server], "until": made.until, "text": f"good for {ttl_s:,} s at {section.turn.id}"}


def _urls(section: TurnSection) -> list[str]:
    """RFC 7065. Over TLS last: what goes by UDP sounds better."""
    turn = section.turn
    host = turn.advertised or turn.address
    found = [f"turn:{host}:{turn.port}", f"turn:{host}:{turn.port}?transport=tcp"]
    return [*found, f"turns:{host}:{turn.secure}?transport=tcp"] if turn.certificate is not None else found
