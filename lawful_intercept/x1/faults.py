"""Error codes of X1 (ETSI TS 103 221-1 clause 6.7) and the error that carries one.

What a fault says goes to the peer over X1 and to nobody else; it names the rule, never a target, task or destination.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from nf.errors import NfError, Status, UnavailableError


class Code(IntEnum):
    GENERIC = 1000
    SYNTAX = 1010
    VERSION = 1020
    ADMF_CERTIFICATE = 1030
    UNEXPECTED_ADMF = 1040
    ELEMENT_CERTIFICATE = 1050
    UNEXPECTED_ELEMENT = 1060
    KEEPALIVE_UNSUPPORTED = 1070
    UNSUPPORTED = 1080
    XID_EXISTS = 2010
    XID_UNKNOWN = 2020
    DID_EXISTS = 2030
    DID_UNKNOWN = 2040
    OBJECT_EXISTS = 2050
    OBJECT_UNKNOWN = 2060
    ACTIVATE_FAILED = 3000
    MODIFY_FAILED = 3001
    TARGET_TYPE = 3010
    COMBINATION = 3020
    SEVERAL_DESTINATIONS = 3030
    DELIVERY_TYPE = 3040
    SERVICE_TYPE = 3050
    DEACTIVATE_FAILED = 4000
    DEACTIVATE_ALL_FAILED = 5000
    DEACTIVATE_ALL_DISABLED = 5010
    CREATE_DESTINATION_FAILED = 6000
    MODIFY_DESTINATION_FAILED = 6001
    ADDRESS_TYPE = 6020
    REMOVE_DESTINATION_FAILED = 7000
    DESTINATION_IN_USE = 7010
    REMOVE_ALL_FAILED = 8000
    REMOVE_ALL_IN_USE = 8010
    REMOVE_ALL_DISABLED = 8020
    FAULT_CLEARED = 9000
    WARNING = 9010
    NON_TERMINATING_FAULT = 9020
    TERMINATING_FAULT = 9030
    ACTIONED = 9040
    KEEPALIVES_MISSING = 9050
    DATABASE_CLEARED = 10000


TEXTS: Final = {
    Code.GENERIC: "request cannot be answered",
    Code.SYNTAX: "syntax or schema error",
    Code.VERSION: "version is not supported",
    Code.ADMF_CERTIFICATE: "ADMF identifier is not that of the certificate",
    Code.UNEXPECTED_ADMF: "ADMF identifier is not expected here",
    Code.ELEMENT_CERTIFICATE: "NE identifier is not that of the certificate",
    Code.UNEXPECTED_ELEMENT: "NE identifier is not expected here",
    Code.KEEPALIVE_UNSUPPORTED: "keepalive is not supported",
    Code.UNSUPPORTED: "request is not supported",
    Code.XID_EXISTS: "XID exists already",
    Code.XID_UNKNOWN: "XID does not exist",
    Code.DID_EXISTS: "DID exists already",
    Code.DID_UNKNOWN: "DID does not exist",
    Code.OBJECT_EXISTS: "generic object exists already",
    Code.OBJECT_UNKNOWN: "generic object does not exist",
    Code.ACTIVATE_FAILED: "task cannot be activated",
    Code.MODIFY_FAILED: "task cannot be modified",
    Code.TARGET_TYPE: "type of target identifier is not supported",
    Code.COMBINATION: "combination of criteria is not supported",
    Code.SEVERAL_DESTINATIONS: "several destinations are not supported",
    Code.DELIVERY_TYPE: "delivery type does not fit the destinations",
    Code.SERVICE_TYPE: "service type is not supported",
    Code.DEACTIVATE_FAILED: "task cannot be deactivated",
    Code.DEACTIVATE_ALL_FAILED: "tasks cannot be deactivated",
    Code.DEACTIVATE_ALL_DISABLED: "deactivation of all tasks is not enabled",
    Code.CREATE_DESTINATION_FAILED: "destination cannot be created",
    Code.MODIFY_DESTINATION_FAILED: "destination cannot be modified",
    Code.ADDRESS_TYPE: "type of delivery address is not supported",
    Code.REMOVE_DESTINATION_FAILED: "destination cannot be removed",
    Code.DESTINATION_IN_USE: "destination is in use",
    Code.REMOVE_ALL_FAILED: "destinations cannot be removed",
    Code.REMOVE_ALL_IN_USE: "destinations are in use",
    Code.REMOVE_ALL_DISABLED: "removal of all destinations is not enabled",
    Code.FAULT_CLEARED: "fault is cleared",
    Code.WARNING: "warning",
    Code.NON_TERMINATING_FAULT: "fault that does not end the task",
    Code.TERMINATING_FAULT: "fault that ends the task",
    Code.ACTIONED: "fully actioned",
    Code.KEEPALIVES_MISSING: "keepalives were not received",
    Code.DATABASE_CLEARED: "database is cleared",
}


class X1Fault(NfError):  # noqa: N818 - X1 calls it so
    """What an X1 error response carries. `code`: a `Code`, or a foreign element's own number.

    Raised by whoever handles a request, and by the client when the answer is one.
    """

    status = Status.FAILED_PRECONDITION

    def __init__(self, code: int, text: str = "", *, remedy: str = "") -> None:
        known = next((said for each, said in TEXTS.items() if each == code), "refused by the peer")
        super().__init__(text or known, where=f"X1 error {code}", remedy=remedy)
        self.code = code


class X1NoAnswer(UnavailableError):  # noqa: N818 - it reads as what happened
    """The peer did not answer, or what it answered is not an answer to what was asked: nothing is known of its state.

    `sent`: whether the request may have reached it.
    """

    def __init__(self, message: str, *, sent: bool, remedy: str = "") -> None:
        super().__init__(message, where="X1", remedy=remedy)
        self.sent = sent
