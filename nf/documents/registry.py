"""What domains add to the documents: delivery path types and appliance sections (entry-point group `nf.documents`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nf.documents.lineup import DeliveryPath
from nf.documents.model import DocumentModel


@dataclass(frozen=True, slots=True)
class Extension:
    """What an entry point of the group `nf.documents` names.

    path_types   `type:` in a channel's delivery -> model (fixes `type` with a Literal)
    sections     section of an appliance's configuration -> model
    """

    path_types: Mapping[str, type[DeliveryPath]] = field(default_factory=dict)
    sections: Mapping[str, type[DocumentModel]] = field(default_factory=dict)
