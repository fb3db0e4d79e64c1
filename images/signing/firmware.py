"""Our keys in a firmware: signature lists, signed updates of its variables, and a variable store for virtual machines.

Formats: UEFI 2.10, 32.4.1 (EFI_SIGNATURE_LIST), 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2); the store is EDK II's
authenticated variable store (MdeModulePkg/Include/Guid/VariableFormat.h).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from images.signing.keys import Keys, read_certificate, read_rsa_key
from nf.errors import InputError

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
IMAGE_SECURITY = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
VENDOR = {"PK": GLOBAL, "KEK": GLOBAL, "db": IMAGE_SECURITY, "dbx": IMAGE_SECURITY}

_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")
_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
_SECURE_BOOT_ENABLE = uuid.UUID("f0a30bc7-af08-4556-99c4-001009c93a44")
_CUSTOM_MODE = uuid.UUID("c076ec0c-7028-4399-a072-71ee5c448b9f")
_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")

_NV_BS = 0x03  # EFI_VARIABLE_NON_VOLATILE | BOOTSERVICE_ACCESS
_NV_BS_RT_AT = 0x27  # the same, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS
_APPEND = 0x40


def signature_list(certificates: Sequence[x509.Certificate], owner: uuid.UUID) -> bytes:
    """One EFI_SIGNATURE_LIST for each certificate: their lengths differ, and a list has one length."""
    lists = []
    for certificate in certificates:
        der = certificate.public_bytes(serialization.Encoding.DER)
        lists.append(_list(_X509, [der], owner))
    return b"".join(lists)


def digest_list(digests: Sequence[bytes], owner: uuid.UUID) -> bytes:
    """SHA-256 digests of PE images (Authenticode), for dbx: what is refused though its signer is trusted."""
    return _list(_SHA256, list(digests), owner)


def signed_update(name: str, data: bytes, keys: Keys, *, signer: str, when: datetime, append: bool = False) -> bytes:
    """What firmware takes as a change of variable `name` (an `.auth` file).

    `when` must be later than that of the change before it, unless `append`. Raises NotFoundError when the signer's
    key is kept elsewhere, IntegrityError.
    """
    stamp = _time(when)
    attributes = _NV_BS_RT_AT | (_APPEND if append else 0)
    signed = name.encode("utf-16-le") + VENDOR[name].bytes_le + struct.pack("<I", attributes) + stamp + data
    certificate = read_certificate(keys.certificate(signer))
    content = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(signed)
        .add_signer(certificate, read_rsa_key(keys.key(signer), signer), hashes.SHA256())
        .sign(
            serialization.Encoding.DER,
            [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes],
        )
    )
    header = struct.pack("<IHH", 24 + len(content), 0x0200, 0x0EF1) + _PKCS7.bytes_le
    return stamp + header + content + data


def enrolment_files(keys: Keys, *, when: datetime, further: Sequence[x509.Certificate] = ()) -> dict[str, bytes]:
    """File name -> content of what a technician loads into a firmware in setup mode, in the order db, KEK, PK.

    `further` certificates go into db beside ours: what a machine's own option ROMs are signed with.
    Raises NotFoundError when the keys of PK or KEK are kept elsewhere, IntegrityError.
    """
    lists = {
        "PK": signature_list([read_certificate(keys.certificate("PK"))], keys.owner),
        "KEK": signature_list([read_certificate(keys.certificate("KEK"))], keys.owner),
        "db": signature_list([read_certificate(keys.certificate("db")), *further], keys.owner),
    }
    signers = {"PK": "PK", "KEK": "PK", "db": "KEK"}
    made = {}
    for name in ("db", "KEK", "PK"):
        made[f"{name}.esl"] = lists[name]
        made[f"{name}.auth"] = signed_update(name, lists[name], keys, signer=signers[name], when=when)
        certificate = read_certificate(keys.certificate(name))
        made[f"{name}.cer"] = certificate.public_bytes(serialization.Encoding.DER)
    return made


def variable_store(template: bytes, keys: Keys, *, when: datetime, further: Sequence[x509.Certificate] = ()) -> bytes:
    """An OVMF variable store with our PK, KEK and db and Secure Boot switched on.

    `template` is an empty store (OVMF_VARS_4M.fd). Raises InputError when it is not one.
    """
    start = template.find(_STORE.bytes_le)
    if start < 0 or template[40:44] != b"_FVH":
        raise InputError("not an empty OVMF variable store", remedy="give /usr/share/OVMF/OVMF_VARS_4M.fd")
    (size,) = struct.unpack_from("<I", template, start + 16)
    first = start + 28
    if template[first : first + 2] != b"\xff\xff":
        raise InputError("the variable store has variables already", remedy="give /usr/share/OVMF/OVMF_VARS_4M.fd")
    stamp = _time(when)
    db = [read_certificate(keys.certificate("db")), *further]
    variables = [
        _variable("PK", GLOBAL, _NV_BS_RT_AT, _one(keys, "PK"), stamp),
        _variable("KEK", GLOBAL, _NV_BS_RT_AT, _one(keys, "KEK"), stamp),
        _variable("db", IMAGE_SECURITY, _NV_BS_RT_AT, signature_list(db, keys.owner), stamp),
        _variable("SecureBootEnable", _SECURE_BOOT_ENABLE, _NV_BS, b"\x01", bytes(16)),
        _variable("CustomMode", _CUSTOM_MODE, _NV_BS, b"\x00", bytes(16)),
    ]
    content = b"".join(variables)
    if first + len(content) > start + size:
        raise InputError("the keys do not fit into the variable store", remedy="use the 4 MiB variant of OVMF")
    return template[:first] + content + template[first + len(content) :]


def write_variable_store(template: Path, out: Path, keys: Keys) -> None:
    """`variable_store` on files. Raises InputError."""
    try:
        empty = template.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(template)) from error
    out.write_bytes(variable_store(empty, keys, when=datetime.now(UTC)))


def _one(keys: Keys, name: str) -> bytes:
    return signature_list([read_certificate(keys.certificate(name))], keys.owner)


def _list(kind: uuid.UUID, entries: Sequence[bytes], owner: uuid.UUID) -> bytes:
    size = 16 + len(entries[0])
    body = b"".join(owner.bytes_le + entry for entry in entries)
    return kind.bytes_le + struct.pack("<III", 28 + len(body), 0, size) + body


def _variable(name: str, vendor: uuid.UUID, attributes: int, data: bytes, stamp: bytes) -> bytes:
    label = name.encode("utf-16-le") + b"\0\0"
    header = struct.pack("<HBBIQ", 0x55AA, 0x3F, 0, attributes, 0) + stamp
    header += struct.pack("<III", 0, len(label), len(data)) + vendor.bytes_le
    whole = header + label + data
    return whole + b"\xff" * (-len(whole) % 4)


def _time(when: datetime) -> bytes:
    """EFI_TIME in UTC; authenticated variables have no nanoseconds, time zone or daylight in it."""
    when = when.astimezone(UTC)
    return struct.pack(
        "<HBBBBBBIhBB", when.year, when.month, when.day, when.hour, when.minute, when.second, 0, 0, 0, 0, 0
    )
