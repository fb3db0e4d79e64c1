"""What the CDN adds to the documents: the path type `cdn`, the sections of its drivers, the arguments of its probe."""

from __future__ import annotations

from nf.documents.registry import Extension
from nf.media.documents.caches import (
    CdnEquipment,
    CongestionControl,
    EdgeChannel,
    EdgeEquipment,
    EdgeSection,
    EdgeTls,
    Healing,
    Parent,
    ShieldChannel,
    ShieldSection,
)
from nf.media.documents.fields import (
    CACHE_KEY_HEADER,
    DASH_MANIFEST,
    HLS_MANIFEST,
    MAX_LISTED,
    PART,
    SHARED_PATHWAY,
    HostName,
    HttpPort,
    SecretRef,
    endpoint_address,
    object_prefix,
    pathway_host,
)
from nf.media.documents.following import HlsProbeArguments, IntakeChannel, IntakeOutput, IntakeSection
from nf.media.documents.ladder import Rung
from nf.media.documents.packaging import (
    Bucket,
    IngestSection,
    IngestSource,
    OmeSection,
    OmeStream,
    OriginSection,
    PackagerChannel,
    PackagerSection,
    Pathways,
)
from nf.media.documents.path import CdnPath, OmeEngine, Origin, Steering
from nf.media.documents.protection import KeyServer, Protection
from nf.media.purge.message import PurgeMessage

__all__ = [
    "CACHE_KEY_HEADER",
    "DASH_MANIFEST",
    "EXTENSION",
    "HLS_MANIFEST",
    "MAX_LISTED",
    "PART",
    "SHARED_PATHWAY",
    "Bucket",
    "CdnEquipment",
    "CdnPath",
    "CongestionControl",
    "EdgeChannel",
    "EdgeEquipment",
    "EdgeSection",
    "EdgeTls",
    "Healing",
    "HlsProbeArguments",
    "HostName",
    "HttpPort",
    "IngestSection",
    "IngestSource",
    "IntakeChannel",
    "IntakeOutput",
    "IntakeSection",
    "KeyServer",
    "OmeEngine",
    "OmeSection",
    "OmeStream",
    "Origin",
    "OriginSection",
    "PackagerChannel",
    "PackagerSection",
    "Parent",
    "Pathways",
    "Protection",
    "Rung",
    "SecretRef",
    "ShieldChannel",
    "ShieldSection",
    "Steering",
    "endpoint_address",
    "object_prefix",
    "pathway_host",
]

EXTENSION = Extension(
    path_types={"cdn": CdnPath},
    equipment={PART: CdnEquipment},
    sections={
        "ingest": IngestSection,
        "s3-origin": OriginSection,
        "packager": PackagerSection,
        "ome": OmeSection,
        "cdn-shield": ShieldSection,
        "cdn-edge": EdgeSection,
        "stream-intake": IntakeSection,
    },
    messages={"PurgeMessage": PurgeMessage},
)
