"""A model of FreeSWITCH with a configuration as the real one is given, on loopback and on ports of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.ports import free_ports

PROGRAM = Path(__file__).resolve().parents[3] / "lab/voice/bin/freeswitch"

MAIN = """<?xml version="1.0"?>
<document type="freeswitch/xml">
  <X-PRE-PROCESS cmd="include" data="vars.xml"/>
  <section name="configuration"><X-PRE-PROCESS cmd="include" data="autoload_configs/*.xml"/></section>
  <section name="dialplan"><X-PRE-PROCESS cmd="include" data="dialplan/*.xml"/></section>
  <section name="directory"><X-PRE-PROCESS cmd="include" data="directory/*.xml"/></section>
</document>
"""
VARS = """<include>
  <X-PRE-PROCESS cmd="set" data="domain=voice.test"/>
  <X-PRE-PROCESS cmd="set" data="sip_address=127.0.0.1"/>
</include>
"""
MODULES = "console logfile event_socket sofia dptools commands dialplan_xml conference voicemail tone_stream sndfile"
SETTINGS = {
    "modules": "<modules>{loaded}</modules>",
    "switch": """<settings>
      <param name="max-sessions" value="{sessions}"/><param name="sessions-per-second" value="200"/>
      <param name="rtp-start-port" value="{rtp}"/><param name="rtp-end-port" value="{rtp_end}"/>
      <param name="event-heartbeat-interval" value="1"/><param name="loglevel" value="debug"/></settings>""",
    "event_socket": """<settings><param name="listen-ip" value="127.0.0.1"/><param name="listen-port" value="{esl}"/>
      <param name="password" value="ClueCon-5"/><param name="apply-inbound-acl" value="{acl}"/></settings>""",
    "acl": """<network-lists><list name="proxies" default="deny"><node type="allow" cidr="127.0.0.1/32"/></list>
      <list name="nobody" default="deny"/></network-lists>""",
    "sofia": """<profiles><profile name="internal"><aliases/><settings>
      <param name="sip-ip" value="$${{sip_address}}"/><param name="sip-port" value="{sip}"/>
      <param name="rtp-ip" value="$${{sip_address}}"/><param name="context" value="services"/>
      <param name="apply-inbound-acl" value="{sip_acl}"/><param name="auth-calls" value="{auth}"/>
      <param name="sip-options-respond-503-on-busy" value="true"/></settings></profile></profiles>""",
    "conference": """<caller-controls><group name="keys"><control action="mute" digits="0"/></group></caller-controls>
      <profiles><profile name="default"><param name="rate" value="8000"/><param name="caller-controls" value="keys"/>
      </profile></profiles>""",
    "ivr": """<menus><menu name="front" greet-long="tone_stream://%(5000,0,500)" greet-short="silence_stream://100"
        invalid-sound="tone_stream://%(200,0,300)" timeout="20000" inter-digit-timeout="3000" max-failures="3"
        digit-len="1">
        <entry action="menu-exec-app" digits="1" param="transfer 9004 XML services"/>
        <entry action="menu-exec-app" digits="2" param="transfer 9001 XML services"/>
        <entry action="menu-exit" digits="9"/></menu></menus>""",
    "voicemail": """<profiles><profile name="default"><param name="file-extension" value="wav"/>
        <param name="min-record-len" value="0"/><param name="max-record-len" value="60"/>
        <param name="tone-spec" value="tone_stream://%(200,0,800)"/></profile></profiles>""",
}
DIALPLAN = """<include><context name="services">
  <extension name="language" continue="true"><condition field="destination_number" expression="^(9\\d+)$">
    <action application="set" data="dialled=$1" inline="true"/></condition></extension>
  <extension name="conference"><condition field="destination_number" expression="^9001$">
    <action application="answer"/><action application="conference" data="room@default"/></condition></extension>
  <extension name="ivr"><condition field="destination_number" expression="^9002$">
    <action application="answer"/><action application="ivr" data="front"/></condition></extension>
  <extension name="voicemail"><condition field="destination_number" expression="^9003$">
    <action application="voicemail" data="default voice.test alice"/></condition></extension>
  <extension name="echo"><condition field="destination_number" expression="^9004$">
    <action application="answer"/><action application="echo"/></condition></extension>
  <extension name="tone"><condition field="destination_number" expression="^9005$">
    <action application="playback" data="tone_stream://%(1000,0,700);loops=-1"/></condition></extension>
  <extension name="early"><condition field="destination_number" expression="^9006$">
    <action application="pre_answer"/><action application="playback" data="tone_stream://%(600,0,620)"/>
    <action application="hangup" data="USER_BUSY"/></condition></extension>
  <extension name="digits"><condition field="destination_number" expression="^9007$">
    <action application="answer"/>
    <action application="play_and_get_digits"
      data="2 4 3 20000 # tone_stream://%(100,0,500) silence_stream://50 pin ^\\d+$ 2000"/>
    <action application="transfer" data="${pin} XML services"/></condition></extension>
  <extension name="park"><condition field="destination_number" expression="^9008$">
    <action application="answer"/><action application="park"/></condition></extension>
  <extension name="out"><condition field="destination_number" expression="^to-(\\d+)$">
    <action application="set" data="hangup_after_bridge=true"/>
    <action application="bridge" data="sofia/internal/bob@127.0.0.1:$1"/></condition></extension>
  <extension name="missing"><condition field="destination_number" expression="^9099$">
    <action application="no_such_application"/></condition></extension>
</context></include>
"""
DIRECTORY = """<include><domain name="voice.test">
  <params><param name="esl-allowed-api" value="status show"/></params>
  <groups><group name="all"><users>
    <user id="alice"><params><param name="password" value="secret-5"/><param name="vm-password" value="1234"/>
      <param name="esl-password" value="eve-5"/><param name="esl-allowed-events" value="HEARTBEAT"/></params></user>
  </users></group></groups></domain></include>
"""


class Esl:
    """The least client: what it reads is given as it came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.events: list[tuple[dict[str, str], str]] = []

    async def packet(self) -> tuple[dict[str, str], str]:
        headers = {}
        while line := (await self.reader.readline()).decode():
            if line == "\n":
                break
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        body = await self.reader.readexactly(int(headers.get("Content-Length", "0")))
        return headers, body.decode()

    async def command(self, text: str) -> tuple[dict[str, str], str]:
        """The reply; events that come before it are kept in `events`."""
        self.writer.write(f"{text}\n\n".encode())
        while True:
            headers, body = await self.packet()
            if headers["Content-Type"] in ("command/reply", "api/response"):
                return headers, body
            self.events.append((headers, body))

    async def api(self, text: str) -> str:
        return (await self.command(f"api {text}"))[1]

    async def event(self, name: str, **wanted: str) -> dict[str, str]:
        """The next plain event of that name, with those headers (_ for -)."""
        while True:
            headers, body = self.events.pop(0) if self.events else await self.packet()
            if headers["Content-Type"] != "text/event-plain":
                continue
            head, _, rest = body.partition("\n\n")
            event = {key: unquote(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}
            if event["Event-Name"] == name and all(event.get(k.replace("_", "-")) == v for k, v in wanted.items()):
                return event | {"_body": rest}


class Model:
    """One that runs. `sip`, `esl`: its ports."""

    def __init__(self, directory: Path, ports: list[int], process: asyncio.subprocess.Process) -> None:
        self.directory, self.process = directory, process
        self.sip, self.esl = ports
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self, auth: str = "auth ClueCon-5") -> Esl:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.esl)
        self._clients.append(writer)
        client = Esl(reader, writer)
        if auth:
            assert (await client.packet())[0]["Content-Type"] == "auth/request"
            assert (await client.command(auth))[0]["Reply-Text"] == "+OK accepted"
        return client

    async def until(self, count: int, client: Esl) -> None:
        """Waits until that many channels are there."""
        await self.until_said("show channels count", f"\n{count} total.\n", client)

    async def until_said(self, command: str, wanted: str, client: Esl) -> None:
        while await client.api(command) != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        for writer in self._clients:
            writer.close()
        if self.process.returncode is None:
            self.process.terminate()
        await asyncio.wait_for(self.process.wait(), 30)


def configuration(directory: Path, values: dict[str, str]) -> Path:
    conf = directory / "conf"
    for name in ("autoload_configs", "dialplan", "directory"):
        (conf / name).mkdir(parents=True, exist_ok=True)
    (conf / "freeswitch.xml").write_text(MAIN)
    (conf / "vars.xml").write_text(VARS)
    for name, text in SETTINGS.items():
        loaded = "".join(f'<load module="mod_{one}"/>' for one in values.get("modules", MODULES).split())
        filled = text.format(loaded=loaded, **values) if "{" in text else text
        made = f'<configuration name="{name}.conf" description="{name}">{filled}</configuration>'
        (conf / "autoload_configs" / f"{name}.conf.xml").write_text(made)
    (conf / "dialplan/services.xml").write_text(DIALPLAN)
    (conf / "directory/voice.xml").write_text(DIRECTORY)
    return conf


Start = Callable[..., Awaitable[Model]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(sessions="2", env={...})`: a model that is up."""
    started: list[Model] = []

    async def make(env: dict[str, str] | None = None, **values: str) -> Model:
        ports = free_ports(2)
        rtp = 30000 + (os.getpid() * 400 + len(started) * 200) % 20000
        known = {"sip": str(ports[0]), "esl": str(ports[1]), "rtp": str(rtp), "rtp_end": str(rtp + 398)}
        known |= {"sessions": "100", "acl": "loopback.auto", "sip_acl": "proxies", "auth": "false"}
        directory = tmp_path / f"fs{len(started)}"
        conf = configuration(directory, known | values)
        folders = [f for name in ("log", "db", "run") for f in (f"-{name}", str(directory / name))]
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM), "-nf", "-nonat", "-conf", str(conf), *folders,
            stdout=asyncio.subprocess.DEVNULL, env={**os.environ, **(env or {})},
        )  # fmt: skip
        model = Model(directory, ports, process)
        started.append(model)
        while True:
            assert process.returncode is None, "it ended"
            try:
                (await asyncio.open_connection("127.0.0.1", ports[1]))[1].close()
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return model

    yield make
    for model in started:
        await model.end()
