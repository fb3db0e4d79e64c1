"""A web server that says its name to everything but /slow, where it says a little at a time: `web.py NAME PORT [PEM]`.

With a file of PEM, certificate and key, it is one of https.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys


async def serve(name: str, port: int, pem: str = "") -> None:
    tls = None
    if pem:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /slow "):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while not writer.transport.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.2)
            body = f"{name}\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, None, port, backlog=4096, ssl=tls) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
