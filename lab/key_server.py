"""A key server of the lab: answers a packager's requests for content keys. A model: no DRM stands behind it.

It speaks the Widevine Common Encryption API as it is published: a POST of JSON with `request` (base64 of JSON that has
content_id and tracks), `signer`, and `signature` (base64 of the SHA-1 digest of the request, AES-CBC, PKCS #7 padding);
the answer has `response`, base64 of JSON with a key for each track. Written from the documentation; the real service
was never asked.

`python -m lab.key_server --port 8444 --signer streamverse --signing-key HEX --signing-iv HEX --master HEX`. Keys and
key ids follow from the master key, the content id and the track: who knows the master key can tell them (`keys_of`).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

SYSTEM_ID = bytes.fromhex("edef8ba979d64acea3c827dcd51d21ed")
_LONGEST_OCTETS = 65_536


def signature(key: bytes, iv: bytes, message: bytes) -> bytes:
    """Of a request, as its signer makes it."""
    padder = PKCS7(128).padder()
    padded = padder.update(hashlib.sha1(message).digest()) + padder.finalize()  # noqa: S324 - the API's digest
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def keys_of(master: bytes, content_id: bytes, track: str) -> tuple[bytes, bytes]:
    """Key id and key, 16 octets each."""
    return tuple(  # type: ignore[return-value]  # two of them
        hmac.digest(master, what + content_id + b"/" + track.encode(), "sha256")[:16] for what in (b"id:", b"key:")
    )


def pssh_data(key_id: bytes, content_id: bytes) -> bytes:
    """What a licence server is told: the fields key_ids (2) and content_id (4) of a Widevine header, protobuf."""
    return b"\x12" + bytes([len(key_id)]) + key_id + b"\x22" + bytes([len(content_id)]) + content_id


@dataclass
class KeyServer:
    """`asked`: the requests that were signed well. `refused`: how many were not answered with keys."""

    signer: str
    signing_key: bytes = field(repr=False)
    signing_iv: bytes = field(repr=False)
    master: bytes = field(repr=False)
    asked: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0

    def answer(self, body: bytes) -> dict[str, Any]:
        """The object that is answered with; its status says when there are no keys."""
        try:
            outer = json.loads(body)
            message = base64.b64decode(outer["request"], validate=True)
            given = base64.b64decode(outer["signature"], validate=True)
            known = outer["signer"] == self.signer
            if not known or not hmac.compare_digest(given, signature(self.signing_key, self.signing_iv, message)):
                return self._no("SIGNATURE_FAILED")
            request = json.loads(message)
            content_id = base64.b64decode(request["content_id"], validate=True)
            types = [str(track["type"]) for track in request["tracks"]]
        except (ValueError, KeyError, TypeError, binascii.Error):
            return self._no("MALFORMED_REQUEST")
        self.asked.append(request)
        tracks = []
        for track in types:
            key_id, key = keys_of(self.master, content_id, track)
            pssh = {"drm_type": "WIDEVINE", "data": _text(pssh_data(key_id, content_id))}
            tracks.append({"type": track, "key_id": _text(key_id), "key": _text(key), "pssh": [pssh]})
        drm = [{"type": "WIDEVINE", "system_id": SYSTEM_ID.hex()}]
        return _wrapped({"status": "OK", "drm": drm, "tracks": tracks})

    def _no(self, status: str) -> dict[str, Any]:
        self.refused += 1
        return _wrapped({"status": status})

    def serve(self, address: str, port: int) -> ThreadingHTTPServer:
        """A server that listens; `serve_forever` answers."""
        model = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.dumps(model.answer(self._body())).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":  # RFC 9112, 7.1, which Shaka uses
                    length = int(self.headers.get("Content-Length", "0"))
                    return self.rfile.read(min(length, _LONGEST_OCTETS))
                parts: list[bytes] = []
                while size := int(self.rfile.readline(64), 16):
                    parts.append(self.rfile.read(min(size, _LONGEST_OCTETS)))
                    self.rfile.readline(64)
                self.rfile.readline(64)
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                """Its log has no keys, and nothing else."""

        return ThreadingHTTPServer((address, port), Request)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _wrapped(inner: dict[str, Any]) -> dict[str, Any]:
    return {"response": _text(json.dumps(inner).encode())}


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.key_server", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8444)
    parser.add_argument("--signer", required=True)
    for name in ("signing-key", "signing-iv", "master"):
        parser.add_argument(f"--{name}", type=bytes.fromhex, required=True)
    given = parser.parse_args()
    server = KeyServer(given.signer, given.signing_key, given.signing_iv, given.master)
    with server.serve(given.address, given.port) as listening:
        listening.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
