"""What was compiled, in namespaces: c1 is core and internet, pop1 an edge, ran the UEs and their gNBs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core5g.pfcp.proxy.driver import create as create_proxy
from core5g.pfcp.proxy.units import ask, status_socket
from core5g.steering.n6 import units
from core5g.steering.n6.driver import create as create_n6
from nf.contracts.driver import Checkpoint, Driver
from nf.contracts.json import JsonObject
from tests.core5g.daemons import SMF_MODEL, program
from tests.core5g.steering.n6.network import get
from tests.headend.multicast.tree.network import Node, context, until


class World:
    """`ues`: SUPI -> the address that it asks from."""

    def __init__(self, made: dict[str, Node], folder: Path, ues: Mapping[str, str]) -> None:
        self.c1, self.pop1, self.ran = made["c1"], made["pop1"], made["ran"]
        self.folder, self.ues = folder, ues
        self.running: list[subprocess.Popen[bytes]] = []
        self.n6, self.proxy = create_n6(self.pop1.context()), create_proxy(self.pop1.context())

    def start(self, node: Node, *argv: str) -> subprocess.Popen[bytes]:
        command = ["nsenter", f"--net=/run/netns/{node.namespace}", *argv]
        with (self.folder / "output").open("ab") as output:
            environment = {**os.environ, "NF_PYTHON": sys.executable}
            self.running.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        return self.running[-1]

    def function(self, node: Node, kind: str, tree: dict[str, Any]) -> None:
        file = self.folder / f"{node.name}-{kind}.yaml"
        file.write_text(json.dumps(tree))
        self.start(node, str(SMF_MODEL if kind == "smf" else program(kind)), "-c", str(file))

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(90)

    def asked(self, supi: str, address: str) -> str:
        """Who answers the UE there."""
        return self.ran.call(get, address, "/", self.ues[supi])

    def becomes(self, supi: str, address: str, who: str) -> None:
        async def asked() -> bool:
            return await get(address, "/", self.ues[supi]) == who

        self.ran.call(until, asked)

    def operation(self, driver: Driver, name: str, **arguments: Any) -> JsonObject:
        async def run() -> JsonObject:
            return await driver.operations[name].run(arguments, Checkpoint({}, lambda _: None), context())

        return self.pop1.call(run)

    def holds(self, judge: Callable[[JsonObject, JsonObject], bool]) -> None:
        """Of the status of the proxy and of the gate."""

        async def holds() -> bool:
            proxy, gate = await ask(status_socket(self.pop1.run_dir)), await units.ask_gate(self.pop1.run_dir)
            return proxy is not None and gate is not None and judge(proxy, gate)

        self.pop1.call(until, holds)
