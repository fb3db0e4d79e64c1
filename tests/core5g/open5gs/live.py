"""Functions that are no more than a file that is read, a port that is open and a number of sessions; and a node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from core5g.open5gs.documents import Open5gsSection

PROGRAM = """#!{python}
# A stand-in of the tests: takes the YAML file, listens on every TCP port that it names, counts sessions from a file.
import asyncio, json, sys
from pathlib import Path
import yaml

config = yaml.safe_load(Path(sys.argv[2]).read_text())
kind = Path(sys.argv[0]).name.removeprefix("open5gs-").removesuffix("d")
print("stand-in of", kind, flush=True)
body = config[kind]
if kind == "amf" and "t3512" not in body.get("time", {{}}):
    sys.exit("no t3512: abort")
counter = Path(sys.argv[0]).parent / (kind + ".sessions")
starts = Path(sys.argv[0]).parent / (kind + ".starts")
starts.write_text(str(int(starts.read_text() if starts.exists() else 0) + 1))


async def answer(reader, writer):
    request = (await reader.readline()).decode()
    count = counter.read_text().strip() if counter.exists() else "0"
    names = {{"upf": "fivegs_upffunction_upf_sessionnbr", "smf": "fivegs_smffunction_sm_sessionnbr", "amf": "ran_ue"}}
    text = names.get(kind, "x") + " " + count + "\\n"
    if "info" in request:
        text = json.dumps({{"items": []}})
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + text.encode())
    await writer.drain()
    writer.close()


async def main():
    for part, port in (("sbi", 7777), ("metrics", 9090)):
        for server in body.get(part, {{}}).get("server", ()):
            await asyncio.start_server(answer, server["address"], server.get("port", port))
    await asyncio.Event().wait()


asyncio.run(main())
"""


def programs(folder: Path, *kinds: str) -> Path:
    folder.mkdir()
    for kind in kinds:
        path = folder / f"open5gs-{kind}d"
        path.write_text(PROGRAM.format(python=sys.executable))
        path.chmod(0o755)
    return folder


def section(*kinds: str, level: str = "info", **changed: Any) -> Open5gsSection:
    """On 127.0.0.1, each kind after the one before. `changed`: kind -> something in its file that differs."""
    functions = []
    for number, kind in enumerate(kinds):
        body: dict[str, Any] = {"metrics": {"server": [{"address": "127.0.0.1", "port": 19000 + number}]}}
        if kind == "amf":
            body["time"] = {"t3512": {"value": 540}}
        if kind == "upf":
            body["pfcp"] = {"server": [{"address": "127.0.0.1"}]}
        if kind not in {"upf", "amf", "smf", "pcf"}:
            body = {"sbi": body["metrics"]}
        tree: dict[str, Any] = {"logger": {"level": level}, kind: {**body, "note": changed.get(kind, "")}}
        if kind == "smf":
            tree["global"] = {"parameter": {"no_pfcp_rr_select": True}}
        if kind == "udr":
            tree["db_uri"] = "mongodb://secret:core5g-db@127.0.0.1:27017/open5gs"
        functions.append(
            {
                "kind": kind,
                "name": "edge1" if kind == "upf" else kind,
                "config": tree,
                "requires": [f"n.open5gs.{kinds[number - 1]}"] if number else [],
                "provides": [f"n.open5gs.{kind}"],
            }
        )
    return Open5gsSection.model_validate({"functions": functions})
