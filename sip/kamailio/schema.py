"""The SQLite files of a proxy: their tables, and how they are made. Kamailio makes none of them by itself."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sip.kamailio.paths import CALLS_DB, LOCATION_DB, SETTINGS_DB

_HEAD: Final = """PRAGMA journal_mode=WAL;
CREATE TABLE IF NOT EXISTS version (table_name VARCHAR(32) PRIMARY KEY NOT NULL, table_version INTEGER NOT NULL);
"""

# The types are those that Kamailio reads: it takes TEXT for no string.
# `plan` is a tree of Kamailio's mtree, `rtpengine` the relays of its sets: see sip.kamailio.tables.
_SETTINGS: Final = """
CREATE TABLE IF NOT EXISTS plan (tprefix VARCHAR(32) PRIMARY KEY NOT NULL, tvalue VARCHAR(512) NOT NULL);
CREATE TABLE IF NOT EXISTS rtpengine (
    id INTEGER PRIMARY KEY NOT NULL,
    setid INTEGER NOT NULL,
    url VARCHAR(64) NOT NULL,
    weight INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    stamp TEXT DEFAULT '2000-01-01 00:00:01' NOT NULL,
    UNIQUE (setid, url)
);
INSERT OR REPLACE INTO version VALUES ('rtpengine', 1);
"""

# Version 9 of Kamailio's `location`.
_LOCATION: Final = """
CREATE TABLE IF NOT EXISTS location (
    id INTEGER PRIMARY KEY NOT NULL,
    ruid VARCHAR(64) DEFAULT '' NOT NULL UNIQUE,
    username VARCHAR(64) DEFAULT '' NOT NULL,
    domain VARCHAR(64) DEFAULT NULL,
    contact VARCHAR(512) DEFAULT '' NOT NULL,
    received VARCHAR(128) DEFAULT NULL,
    path VARCHAR(512) DEFAULT NULL,
    expires TIMESTAMP WITHOUT TIME ZONE DEFAULT '2030-05-28 21:32:15' NOT NULL,
    q REAL DEFAULT 1.0 NOT NULL,
    callid VARCHAR(255) DEFAULT 'Default-Call-ID' NOT NULL,
    cseq INTEGER DEFAULT 1 NOT NULL,
    last_modified TIMESTAMP WITHOUT TIME ZONE DEFAULT '2000-01-01 00:00:01' NOT NULL,
    flags INTEGER DEFAULT 0 NOT NULL,
    cflags INTEGER DEFAULT 0 NOT NULL,
    user_agent VARCHAR(255) DEFAULT '' NOT NULL,
    socket VARCHAR(64) DEFAULT NULL,
    methods INTEGER DEFAULT NULL,
    instance VARCHAR(255) DEFAULT NULL,
    reg_id INTEGER DEFAULT 0 NOT NULL,
    server_id INTEGER DEFAULT 0 NOT NULL,
    connection_id INTEGER DEFAULT 0 NOT NULL,
    keepalive INTEGER DEFAULT 0 NOT NULL,
    partition INTEGER DEFAULT 0 NOT NULL
);
CREATE INDEX IF NOT EXISTS location_account ON location (username, domain, contact);
CREATE INDEX IF NOT EXISTS location_expires ON location (expires);
INSERT OR REPLACE INTO version VALUES ('location', 9);
"""

# Version 7 of Kamailio's `dialog`, 1 of its `dialog_vars`; `cdrs` is ours: docs/voice-routing.md.
_CALLS: Final = """
CREATE TABLE IF NOT EXISTS dialog (
    id INTEGER PRIMARY KEY NOT NULL,
    hash_entry INTEGER NOT NULL,
    hash_id INTEGER NOT NULL,
    callid VARCHAR(255) NOT NULL,
    from_uri VARCHAR(255) NOT NULL,
    from_tag VARCHAR(128) NOT NULL,
    to_uri VARCHAR(255) NOT NULL,
    to_tag VARCHAR(128) NOT NULL,
    caller_cseq VARCHAR(20) NOT NULL,
    callee_cseq VARCHAR(20) NOT NULL,
    caller_route_set VARCHAR(512),
    callee_route_set VARCHAR(512),
    caller_contact VARCHAR(255) NOT NULL,
    callee_contact VARCHAR(255) NOT NULL,
    caller_sock VARCHAR(64) NOT NULL,
    callee_sock VARCHAR(64) NOT NULL,
    state INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    timeout INTEGER DEFAULT 0 NOT NULL,
    sflags INTEGER DEFAULT 0 NOT NULL,
    iflags INTEGER DEFAULT 0 NOT NULL,
    toroute_name VARCHAR(32),
    req_uri VARCHAR(255) NOT NULL,
    xdata VARCHAR(512)
);
CREATE INDEX IF NOT EXISTS dialog_hash ON dialog (hash_entry, hash_id);
INSERT OR REPLACE INTO version VALUES ('dialog', 7);
CREATE TABLE IF NOT EXISTS dialog_vars (
    id INTEGER PRIMARY KEY NOT NULL,
    hash_entry INTEGER NOT NULL,
    hash_id INTEGER NOT NULL,
    dialog_key VARCHAR(128) NOT NULL,
    dialog_value VARCHAR(512) NOT NULL
);
CREATE INDEX IF NOT EXISTS dialog_vars_hash ON dialog_vars (hash_entry, hash_id);
INSERT OR REPLACE INTO version VALUES ('dialog_vars', 1);
CREATE TABLE IF NOT EXISTS cdrs (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    call_id TEXT NOT NULL,
    from_tag TEXT NOT NULL,
    began REAL NOT NULL,
    caller TEXT NOT NULL,
    dialled TEXT NOT NULL,
    source TEXT NOT NULL,
    inbound TEXT NOT NULL,
    emergency INTEGER NOT NULL,
    called TEXT,
    outbound TEXT,
    relay TEXT,
    answered REAL,
    ended REAL,
    seconds REAL,
    code INTEGER,
    result TEXT NOT NULL DEFAULT 'open',
    UNIQUE (call_id, from_tag)
);
CREATE INDEX IF NOT EXISTS cdrs_result ON cdrs (result);
-- Kamailio takes a dialog's row away some seconds after its end: one that is started in between would have it again.
CREATE TRIGGER IF NOT EXISTS ended AFTER UPDATE OF result ON cdrs WHEN NEW.result != 'open'
BEGIN
    DELETE FROM dialog_vars WHERE EXISTS (
        SELECT 1 FROM dialog WHERE dialog.callid = NEW.call_id AND dialog.from_tag = NEW.from_tag
        AND dialog.hash_entry = dialog_vars.hash_entry AND dialog.hash_id = dialog_vars.hash_id
    );
    DELETE FROM dialog WHERE callid = NEW.call_id AND from_tag = NEW.from_tag;
END;
CREATE INDEX IF NOT EXISTS dialog_call ON dialog (callid, from_tag);
"""

SCHEMAS: Final = MappingProxyType(
    {SETTINGS_DB: _HEAD + _SETTINGS, LOCATION_DB: _HEAD + _LOCATION, CALLS_DB: _HEAD + _CALLS}
)
"""File name -> the SQL that makes it; does no harm to one that is there. In WAL, so that readers stop no writer."""

OPEN: Final = "open"
"""`cdrs.result` of a call that has not ended: whoever passes records on leaves these alone."""
