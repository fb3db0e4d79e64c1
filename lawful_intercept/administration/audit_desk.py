"""What auditors do: they read the audit, have it verified, and take it with them. Nothing else is theirs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lawful_intercept.administration.audit import head_json, head_of, record_json, verify_store
from lawful_intercept.administration.office import Caller, Office
from nf.contracts.json import Json, JsonObject
from nf.errors import InputError

PAGE: Final = 5000


async def list_(office: Office, caller: Caller, arguments: JsonObject) -> Json:
    """{limit, before} -> records, newest first."""
    limit, before = _whole(arguments, "limit", 50), _whole(arguments, "before", 0)
    await office.store.read(caller.deed("audit.list", "audit"))
    records = await office.store.records(min(limit, PAGE), before or None)
    return [{**record_json(one), "detail": json.loads(one.detail_json)} for one in records]


async def verify(office: Office, caller: Caller, path: Path, key: Ed25519PublicKey) -> Json:
    """-> `chain.Verdict` of the store as it is now."""
    await office.store.read(caller.deed("audit.verify", "audit"))
    verdict = await asyncio.to_thread(verify_store, path, key)
    return verdict.json()


async def export(office: Office, caller: Caller, arguments: JsonObject, path: Path) -> Json:
    """{after, until} -> {records, head}: a page of records from the first on. `head` comes with the first page, and
    `until` is its number in the calls for the next ones."""
    after, until = _whole(arguments, "after", 0), _whole(arguments, "until", 0)
    head: JsonObject | None = None
    if not until:
        await office.store.read(caller.deed("audit.export", "audit"))
        signed = await asyncio.to_thread(head_of, path)
        until, head = signed.number, head_json(signed)
    last = min(after + PAGE, until)
    records = await office.store.records(max(0, last - after), last + 1) if last > after else ()
    return {"records": [record_json(one) for one in reversed(records)], "head": head}


def _whole(arguments: JsonObject, name: str, usual: int) -> int:
    value = arguments.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"{name} is a whole number", remedy="see `nf-li audit --help`")
    return value
