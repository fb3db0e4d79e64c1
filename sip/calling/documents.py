"""Section `voice-calls` of appliances that place test calls, and the arguments of their probes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nf.documents.model import Address, DocumentModel, Name, Port, Whole
from nf.documents.registry import Extension
from sip.documents import Digits, DomainName, SecretRef, User

SECTION = "voice-calls"
Answered = Literal["here", "there", "echo", "other"]


class TestCallPlan(DocumentModel):
    """One test call as its appliance places it.

    answered      here: by the same process, so that both ways are measured exactly; there: by another appliance, whose
                  RTCP tells what it hears; echo: by a service that gives back what it hears; other: by anything
    emergency     numbers that no test may call
    generation    of the voice core that it goes through: another one is proved by another call
    """

    __test__ = False  # no class of tests, whatever its name

    id: Name
    proxy: Address
    port: Port
    domain: DomainName
    caller: User
    called: User | Digits
    credentials: SecretRef
    answered: Answered
    emergency: tuple[Digits, ...] = ()
    seconds: Annotated[Whole, Field(ge=1, le=60)] = 5
    interval_s: Annotated[Whole, Field(ge=10, le=3600)] = 60
    least_mos: Annotated[float, Field(ge=1, le=4.4)] = 3.6
    generation: str = ""


class AnswerPlan(DocumentModel):
    """One account that answers the test calls of another appliance. `test`: whose."""

    test: Name
    proxy: Address
    port: Port
    domain: DomainName
    user: User
    credentials: SecretRef
    generation: str = ""


class Traced(DocumentModel):
    """A proxy of this appliance, whose signalling `nf sip trace` reads. `hidden`: its ports that are encrypted."""

    id: Name
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    hidden: tuple[Port, ...] = ()


class VoiceCallsSection(DocumentModel):
    """`calls`: those that this appliance places."""

    calls: tuple[TestCallPlan, ...] = ()
    traced: tuple[Traced, ...] = ()


EXTENSION = Extension(sections={SECTION: VoiceCallsSection})
