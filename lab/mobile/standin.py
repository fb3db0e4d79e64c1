"""Stand-ins for the other functions: they start, listen, refuse what the real ones refuse, and end when told.

`python -m lab.mobile.standin KIND -c FILE`. Nothing of their protocols is here: the service based interface answers 501
(and over HTTP/1.1 at that). AMF and MME have the information interfaces of the real ones, whose content is put there:
`PUT /model/ue-info`, `PUT /model/gnb-info` (or `enb-info`) with a JSON list, on the metrics port.
"""

from __future__ import annotations

import json
import selectors
import sys
import threading
from collections.abc import Mapping
from typing import Any

from lab.mobile import MODEL, gtpu, pfcp
from lab.mobile.config import refuse, section, servers
from lab.mobile.daemon import Daemon, run
from lab.mobile.http import Answer, HttpError, as_json, metrics_text, paged, serve
from lab.mobile.journal import Journal
from lab.mobile.plane import udp

KINDS = ("amf", "ausf", "bsf", "hss", "mme", "nrf", "nssf", "pcf", "pcrf", "scp", "sgwc", "sgwu", "udm", "udr")
_INFORMATION = {"amf": ("ue-info", "gnb-info"), "mme": ("ue-info", "enb-info")}
_UDP = {"gtpc": 2123, "gtpu": gtpu.PORT, "pfcp": pfcp.PORT}
_SBI_PORT = 80


class StandIn(Daemon):
    """Raises ConfigError where the real one would not start."""

    def __init__(self, kind: str, data: dict[str, Any], journal: Journal) -> None:
        refuse(data, kind)
        part = section(data, kind)
        self.kind, self.journal = kind, journal
        self.selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._items: dict[str, list[Any]] = {name: [] for name in _INFORMATION.get(kind, ())}
        self._sockets = [udp(end) for name, port in _UDP.items() for end in servers(part, name, port)]
        for sock in self._sockets:
            self.selector.register(sock, selectors.EVENT_READ, lambda s=sock: s.recv(65536))
        self.servers += [serve(end, self._service) for end in servers(part, "sbi", _SBI_PORT)]
        self.servers += [serve(end, self._observed) for end in servers(part, "metrics", 9090)]

    def _service(self, _method: str, path: str, _query: Mapping[str, str], _body: bytes) -> Answer:
        return as_json({"title": "not modelled", "detail": path, "model": MODEL}, 501)

    def _observed(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        name = path.rpartition("/")[2]
        if path == "/metrics":
            return metrics_text(self._metrics())
        if name in self._items and path == f"/{name}":
            with self._lock:
                return paged(list(self._items[name]), path, query)
        if name in self._items and path == f"/model/{name}" and method == "PUT":
            return self._put(name, body)
        raise HttpError(404, "not found")

    def _put(self, name: str, body: bytes) -> Answer:
        try:
            items = json.loads(body)
        except ValueError as error:
            raise HttpError(400, f"not JSON: {error}") from error
        if not isinstance(items, list):
            raise HttpError(400, "not a list")
        with self._lock:
            self._items[name] = items
        return as_json({"model": MODEL, "items": len(items)})

    def _metrics(self) -> dict[str, float]:
        with self._lock:
            counts = {name: len(items) for name, items in self._items.items()}
        if self.kind == "amf":
            ues = counts["ue-info"]
            registered = {'fivegs_amffunction_rm_registeredsubnbr{plmnid="99970",snssai="1"}': ues}
            return {"gnb": counts["gnb-info"], "ran_ue": ues, "amf_session": ues, **registered}
        if self.kind == "mme":
            return {"enb": counts["enb-info"], "enb_ue": counts["ue-info"], "mme_session": counts["ue-info"]}
        return {"process_start": 1}


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in KINDS:
        sys.stderr.write(f"which function: one of {', '.join(KINDS)}\n")
        sys.exit(2)

    class _OfKind(StandIn):
        kind = arguments[0]

        def __init__(self, data: dict[str, Any], journal: Journal) -> None:
            super().__init__(self.kind, data, journal)

    run(_OfKind, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
