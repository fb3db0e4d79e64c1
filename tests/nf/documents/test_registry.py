from __future__ import annotations

from typing import Literal

import pytest

from headend.multicast.documents import EXTENSION, SsmPath
from nf.documents.lineup import DeliveryPath
from nf.documents.model import DocumentModel
from nf.documents.registry import Extension, Registry, registry
from nf.errors import IntegrityError


class Other(DeliveryPath):
    type: Literal["ssm"]


class Loose(DeliveryPath):
    pass


class Section(DocumentModel):
    pass


def test_what_is_installed_is_found_by_entry_point() -> None:
    assert registry().path_types["ssm"] is SsmPath
    assert set(EXTENSION.sections) <= set(registry().sections)


def test_two_extensions_with_one_path_type_are_refused() -> None:
    with pytest.raises(IntegrityError) as caught:
        Registry([EXTENSION, Extension(path_types={"ssm": Other})])
    assert "two extensions register the path type 'ssm'" in caught.value.message
    assert "headend.multicast.documents.SsmPath" in caught.value.message
    assert caught.value.remedy


def test_two_extensions_with_one_section_are_refused() -> None:
    with pytest.raises(IntegrityError, match="two extensions register the section 'frr'"):
        Registry([EXTENSION, Extension(sections={"frr": Section})])


def test_a_path_type_names_itself() -> None:
    with pytest.raises(IntegrityError, match="Literal"):
        Registry([Extension(path_types={"loose": Loose})])
    with pytest.raises(IntegrityError, match="Literal"):
        Registry([Extension(path_types={"other": Other})])
