"""Phone and model with a real proxy between them: Kamailio keeps itself in the way of every request (Record-Route)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lab.voice.phone import CallError, Phone
from tests.lab.voice.conftest import Model, Start
from tests.support.ports import free_ports

pytestmark = pytest.mark.daemon

CONFIG = """
children=1
tcp_children=1
fork=yes
log_stderror=yes
debug=1
disable_tcp=no
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "textops.so"
request_route {{
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) exit;
        sl_send_reply("404", "Not here");
        exit;
    }}
    if (is_method("INVITE")) record_route();
    $du = "sip:127.0.0.1:{model}";
    t_relay();
}}
"""


@pytest.fixture
async def proxied(
    start: Start, tmp_path: Path, require_programs: Callable[..., None]
) -> AsyncIterator[tuple[Model, int]]:
    """The model, and the proxy's port."""
    require_programs("kamailio")
    model = await start()
    (port,) = free_ports(1)
    (tmp_path / "kamailio.cfg").write_text(CONFIG.format(port=port, model=model.sip))
    process = await asyncio.create_subprocess_exec(
        "kamailio", "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(tmp_path), "-f", str(tmp_path / "kamailio.cfg"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    async with Phone("127.0.0.1", 0, "probe", "voice.test", proxy=f"127.0.0.1:{port}") as probe:
        while await probe.options("x") != 200:
            assert process.returncode is None, "kamailio ended"
    yield model, port
    os.killpg(process.pid, 15)
    await process.wait()


@pytest.mark.parametrize("transport", ["", "tcp:"], ids=["udp", "tcp"])
async def test_a_call_goes_by_the_proxy_in_every_request(proxied: tuple[Model, int], transport: str) -> None:
    model, port = proxied
    esl = await model.connect()
    async with Phone("127.0.0.1", 0, "alice", "voice.test", proxy=f"{transport}127.0.0.1:{port}") as phone:
        call = await (await phone.call("9004")).answered()
        assert any(f":{port}" in route for route in call.leg.routes)
        call.media.tone(450)
        await call.media.packets(40)
        assert call.media.hears([450, 700], 0.3) == [450]
        await call.hold()
        await call.resume()
        await call.media.packets(5)
        assert await esl.api("hupall") != ""
        assert (await call.ended()).method == "BYE"  # the model's request comes by way of the proxy too
        with pytest.raises(CallError, match="404"):
            await (await phone.call("12345")).answered()
        ringing = await phone.call("to-9")
        await ringing.early.wait()
        await ringing.hangup()
        await model.until(0, esl)
