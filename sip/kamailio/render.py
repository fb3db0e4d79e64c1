"""From the section to Kamailio's files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import CONFIG_FILE, DISPATCHER_FILE, TLS_FILE, Paths
from sip.kamailio.sets import dispatcher_list


def render(section: KamailioSection, paths: Paths) -> Mapping[str, str]:
    """File name -> text, all for the folder `paths.config`.

    A change of kamailio.cfg is a restart; of dispatcher.list `dispatcher.reload`, of tls.cfg `tls.reload`. Start it as
    `kamailio -DD -E -Y RUN -f CONFIG/kamailio.cfg`, after the SQL of `sip.kamailio.schema` has made the SQLite files.
    """
    return {CONFIG_FILE: "", DISPATCHER_FILE: dispatcher_list(section), TLS_FILE: str(paths.certificate)}
