"""HTTPS with the certificate that was set, and what is said when there is none."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from pathlib import Path

from nf.clock import RealClock
from nf.media.steering.service import Steering, SteeringSettings
from nf.trust.authority import Authority
from nf.trust.identity import new_identity
from nf.trust.spiffe import SpiffeId
from tests.nf.media.hosting_players import Host, serving


def settings(directory: Path) -> SteeringSettings:
    files = {"certificate": str(directory / "steer.pem"), "key": str(directory / "steer.key")}
    return SteeringSettings.model_validate({"address": "127.0.0.1:0", **files})


async def test_players_are_answered_over_https(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "lab.example", RealClock())
    identity = new_identity(authority, SpiffeId("lab.example", "noc", "steer"), 3600, ["localhost"], ["127.0.0.1"])
    (tmp_path / "steer.pem").write_bytes(identity.certificate_pem)
    (tmp_path / "steer.key").write_bytes(identity.key_pem)
    host = Host(settings(tmp_path))
    async with serving(Steering(), host):

        def status() -> int:
            tls = ssl.create_default_context(cadata=authority.ca_pem.decode())
            connection = http.client.HTTPSConnection("127.0.0.1", host.port, timeout=90, context=tls)
            try:
                connection.request("GET", "/steering/v1/hls/ch1")
                return connection.getresponse().status
            finally:
                connection.close()

        assert await asyncio.to_thread(status) == 200


async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with serving(Steering(), Host(settings(tmp_path))) as task:
        assert "steer.pem" in str(task.exception())
