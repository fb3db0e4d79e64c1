"""What a channel tells of itself: headers of its events, and the accounts of its call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.voice.g711 import NAMES

if TYPE_CHECKING:
    from lab.voice.freeswitch.channel import Channel

NUMBERS = {
    "CS_NEW": 0, "CS_INIT": 1, "CS_ROUTING": 2, "CS_SOFT_EXECUTE": 3, "CS_EXECUTE": 4, "CS_EXCHANGE_MEDIA": 5,
    "CS_PARK": 6, "CS_CONSUME_MEDIA": 7, "CS_HIBERNATE": 8, "CS_RESET": 9, "CS_HANGUP": 10, "CS_REPORTING": 11,
    "CS_DESTROY": 12,
}  # fmt: skip


def channel_headers(channel: Channel) -> dict[str, str]:
    """Of its events."""
    profile, codec = channel.profile, NAMES[channel.media.codec]
    made = {
        "Channel-State": channel.state,
        "Channel-Call-State": channel.callstate,
        "Channel-State-Number": str(NUMBERS[channel.state]),
        "Channel-Name": channel.name,
        "Unique-ID": channel.uuid,
        "Call-Direction": channel.direction,
        "Presence-Call-Direction": channel.direction,
        "Channel-HIT-Dialplan": "true" if channel.direction == "inbound" else "false",
        "Channel-Call-UUID": channel.call_uuid,
        "Answer-State": channel.answer_state,
        "Channel-Read-Codec-Name": codec,
        "Channel-Read-Codec-Rate": "8000",
        "Channel-Write-Codec-Name": codec,
        "Channel-Write-Codec-Rate": "8000",
        "Caller-Direction": channel.direction,
        "Caller-Logical-Direction": channel.direction,
        "Caller-Username": profile.username or profile.caller_id_number,
        "Caller-Dialplan": profile.dialplan,
        "Caller-Caller-ID-Name": profile.caller_id_name,
        "Caller-Caller-ID-Number": profile.caller_id_number,
        "Caller-Orig-Caller-ID-Name": profile.caller_id_name,
        "Caller-Orig-Caller-ID-Number": profile.caller_id_number,
        "Caller-Network-Addr": profile.network_addr,
        "Caller-ANI": profile.ani or profile.caller_id_number,
        "Caller-Destination-Number": profile.destination_number,
        "Caller-Unique-ID": channel.uuid,
        "Caller-Source": profile.source,
        "Caller-Context": profile.context,
        "Caller-Channel-Name": channel.name,
        "Caller-Profile-Index": "1",
        "Caller-Channel-Created-Time": str(int(channel.created * 1e6)),
        "Caller-Channel-Answered-Time": str(int(channel.answered_at * 1e6)),
        "Caller-Channel-Progress-Media-Time": str(int(channel.progressed * 1e6)),
        "Caller-Channel-Hangup-Time": str(int(channel.ended_at * 1e6)),
    }
    if channel.peer is not None:
        made |= {
            "Other-Type": "originatee" if channel.direction == "inbound" else "originator",
            "Other-Leg-Unique-ID": channel.peer.uuid,
            "Other-Leg-Channel-Name": channel.peer.name,
        }
    if channel.cause:
        made["Hangup-Cause"] = channel.cause
    return made | {f"variable_{name}": value for name, value in channel.variables.items()}


def accounts(channel: Channel) -> dict[str, str]:
    """Variables of a call that is over: how long it was, and its packets."""
    billed = channel.ended_at - channel.answered_at if channel.answered_at else 0.0
    found = channel.media.stats()
    return {
        "start_epoch": str(int(channel.created)), "answer_epoch": str(int(channel.answered_at)),
        "end_epoch": str(int(channel.ended_at)), "duration": str(int(channel.ended_at - channel.created)),
        "billsec": str(int(billed)), "billmsec": str(int(billed * 1000)),
        "rtp_audio_in_packet_count": str(found.received), "rtp_audio_out_packet_count": str(found.sent),
        "rtp_audio_in_skip_packet_count": str(found.lost),
    }  # fmt: skip
