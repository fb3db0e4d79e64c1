"""Events: their headers, and how they are written on an event socket as plain, json and xml."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.sax.saxutils import escape

NAMES = frozenset(
    [
        "CUSTOM",
        "CLONE",
        "CHANNEL_CREATE",
        "CHANNEL_DESTROY",
        "CHANNEL_STATE",
        "CHANNEL_CALLSTATE",
        "CHANNEL_ANSWER",
        "CHANNEL_HANGUP",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_EXECUTE",
        "CHANNEL_EXECUTE_COMPLETE",
        "CHANNEL_HOLD",
        "CHANNEL_UNHOLD",
        "CHANNEL_BRIDGE",
        "CHANNEL_UNBRIDGE",
        "CHANNEL_PROGRESS",
        "CHANNEL_PROGRESS_MEDIA",
        "CHANNEL_OUTGOING",
        "CHANNEL_PARK",
        "CHANNEL_UNPARK",
        "CHANNEL_APPLICATION",
        "CHANNEL_ORIGINATE",
        "CHANNEL_UUID",
        "API",
        "LOG",
        "INBOUND_CHAN",
        "OUTBOUND_CHAN",
        "STARTUP",
        "SHUTDOWN",
        "PUBLISH",
        "UNPUBLISH",
        "TALK",
        "NOTALK",
        "SESSION_CRASH",
        "MODULE_LOAD",
        "MODULE_UNLOAD",
        "DTMF",
        "MESSAGE",
        "PRESENCE_IN",
        "NOTIFY_IN",
        "PRESENCE_OUT",
        "PRESENCE_PROBE",
        "MESSAGE_WAITING",
        "MESSAGE_QUERY",
        "ROSTER",
        "CODEC",
        "BACKGROUND_JOB",
        "DETECTED_SPEECH",
        "DETECTED_TONE",
        "PRIVATE_COMMAND",
        "HEARTBEAT",
        "TRAP",
        "ADD_SCHEDULE",
        "DEL_SCHEDULE",
        "EXE_SCHEDULE",
        "RE_SCHEDULE",
        "RELOADXML",
        "NOTIFY",
        "PHONE_FEATURE",
        "PHONE_FEATURE_SUBSCRIBE",
        "SEND_MESSAGE",
        "RECV_MESSAGE",
        "REQUEST_PARAMS",
        "CHANNEL_DATA",
        "GENERAL",
        "COMMAND",
        "SESSION_HEARTBEAT",
        "CLIENT_DISCONNECTED",
        "SERVER_DISCONNECTED",
        "SEND_INFO",
        "RECV_INFO",
        "RECV_RTCP_MESSAGE",
        "SEND_RTCP_MESSAGE",
        "CALL_SECURE",
        "NAT",
        "RECORD_START",
        "RECORD_STOP",
        "PLAYBACK_START",
        "PLAYBACK_STOP",
        "CALL_UPDATE",
        "FAILURE",
        "SOCKET_DATA",
        "MEDIA_BUG_START",
        "MEDIA_BUG_STOP",
        "CONFERENCE_DATA_QUERY",
        "CONFERENCE_DATA",
        "CALL_SETUP_REQ",
        "CALL_SETUP_RESULT",
        "CALL_DETAIL",
        "DEVICE_STATE",
        "TEXT",
        "SHUTDOWN_REQUESTED",
        "ALL",
    ]
)
MYEVENTS = frozenset(
    [
        "CHANNEL_ANSWER",
        "CHANNEL_APPLICATION",
        "CHANNEL_BRIDGE",
        "CHANNEL_CREATE",
        "CHANNEL_DATA",
        "CHANNEL_DESTROY",
        "CHANNEL_EXECUTE",
        "CHANNEL_EXECUTE_COMPLETE",
        "CHANNEL_HANGUP",
        "CHANNEL_HANGUP_COMPLETE",
        "CHANNEL_ORIGINATE",
        "CHANNEL_UUID",
        "CHANNEL_OUTGOING",
        "CHANNEL_PARK",
        "CHANNEL_PROGRESS",
        "CHANNEL_PROGRESS_MEDIA",
        "CHANNEL_STATE",
        "CHANNEL_UNBRIDGE",
        "CHANNEL_UNPARK",
        "DETECTED_SPEECH",
        "DTMF",
        "NOTALK",
        "TALK",
    ]
)
_sequence = itertools.count(1)


@dataclass(slots=True)
class Event:
    """`headers` keep their order."""

    name: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def subclass(self) -> str:
        return self.headers.get("Event-Subclass", "")

    def get(self, name: str) -> str | None:
        """By a name in whichever case, as FreeSWITCH looks headers up."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)

    def plain(self) -> bytes:
        """Without the envelope."""
        lines = [f"{name}: {quoted(value)}\n" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body.encode())}\n\n{self.body}")
        else:
            lines.append("\n")
        return "".join(lines).encode()

    def json(self) -> bytes:
        made = dict(self.headers)
        if self.body:
            made |= {"Content-Length": str(len(self.body.encode())), "_body": self.body}
        return json.dumps(made, ensure_ascii=False).encode()

    def xml(self) -> bytes:
        rows = "".join(f"    <{name}>{escape(quoted(value))}</{name}>\n" for name, value in self.headers.items())
        body = f"  <Content-Length>{len(self.body.encode())}</Content-Length>\n  <body>{escape(self.body)}</body>\n"
        return f"<event>\n  <headers>\n{rows}  </headers>\n{body if self.body else ''}</event>".encode()

    def envelope(self, form: str) -> bytes:
        """form: plain, json, xml."""
        content = {"plain": self.plain, "json": self.json, "xml": self.xml}[form]()
        return f"Content-Length: {len(content)}\nContent-Type: text/event-{form}\n\n".encode() + content


def quoted(value: str) -> str:
    return quote(value, safe="-_.!~*'()/:@,&=+$")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who tells: of one running switch."""

    hostname: str
    switchname: str
    address: str
    core: str = field(default_factory=lambda: str(uuid.uuid4()))

    def event(self, name: str, headers: dict[str, str] | None = None, body: str = "") -> Event:
        now = time.time()
        stamp = {
            "Event-Name": name,
            "Core-UUID": self.core,
            "FreeSWITCH-Hostname": self.hostname,
            "FreeSWITCH-Switchname": self.switchname,
            "FreeSWITCH-IPv4": self.address,
            "FreeSWITCH-IPv6": "::1",
            "Event-Date-Local": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)),
            "Event-Date-GMT": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)),
            "Event-Date-Timestamp": str(int(now * 1e6)),
            "Event-Calling-File": "model.py",
            "Event-Calling-Function": "fire",
            "Event-Calling-Line-Number": "1",
            "Event-Sequence": str(next(_sequence)),
        }
        return Event(name, stamp | (headers or {}), body)
