"""What voicemail says, as tones: mod_voicemail hangs up on a caller where one of its phrases is missing. Pure.

Spoken phrases are an overlay's: recordings are no text that could be rendered.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

_NAMES: Final = (
    "ack",
    "abort",
    "change_pass_fail",
    "change_pass_success",
    "choose_greeting",
    "choose_greeting_fail",
    "config_menu",
    "disk_quota_exceeded",
    "enter_id",
    "enter_pass",
    "fail_auth",
    "forward_message_enter_extension",
    "forward_prepend",
    "goodbye",
    "greeting_selected",
    "hello",
    "invalid_extension",
    "listen_file_check",
    "menu",
    "message_count",
    "play_greeting",
    "record_file_check",
    "record_greeting",
    "record_message",
    "record_name",
    "record_urgent_check",
    "say_date",
    "say_message_number",
    "say_name",
    "say_number",
    "say_phone_number",
    "unavailable",
)
_ASKS: Final = "tone_stream://%(200,100,660);loops=2"
_TELLS: Final = "tone_stream://%(200,100,440)"


def phrases() -> ET.Element:
    root = ET.Element("section", name="languages", description="tones in place of speech")
    language = ET.SubElement(root, "language", {"name": "en", "say-module": "en", "sound-prefix": "$${sounds_dir}"})
    macros = ET.SubElement(ET.SubElement(language, "phrases"), "macros")
    for name in _NAMES:
        macro = ET.SubElement(macros, "macro", name=f"voicemail_{name}")
        match = ET.SubElement(ET.SubElement(macro, "input", pattern="(.*)"), "match")
        asks = name.startswith(("enter", "menu", "config", "record", "listen", "choose", "forward"))
        ET.SubElement(match, "action", function="play-file", data=_ASKS if asks else _TELLS)
    return root
