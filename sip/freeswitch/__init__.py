"""FreeSWITCH: conferences, announcements, voicemail."""
