"""IEs opened down to the last, as judges see them: the product opens only those that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from core5g.pfcp.wire import Ie, IeType, group, grouped

GROUPED: frozenset[int] = frozenset(
    {
        *range(IeType.CREATE_PDR, IeType.CAUSE),
        IeType.LOAD_CONTROL_INFORMATION,
        IeType.OVERLOAD_CONTROL_INFORMATION,
        IeType.APPLICATION_IDS_PFDS,
        IeType.PFD_CONTEXT,
        IeType.APPLICATION_DETECTION_INFORMATION,
        IeType.QUERY_URR,
        IeType.USAGE_REPORT_IN_MODIFICATION_RESPONSE,
        IeType.USAGE_REPORT_IN_DELETION_RESPONSE,
        IeType.USAGE_REPORT_IN_REPORT_REQUEST,
        IeType.DOWNLINK_DATA_REPORT,
        IeType.CREATE_BAR,
        IeType.UPDATE_BAR,
        IeType.REMOVE_BAR,
        IeType.ERROR_INDICATION_REPORT,
        IeType.USER_PLANE_PATH_FAILURE_REPORT,
        IeType.UPDATE_DUPLICATING_PARAMETERS,
        IeType.AGGREGATED_URRS,
        IeType.CREATE_TRAFFIC_ENDPOINT,
        IeType.CREATED_TRAFFIC_ENDPOINT,
        IeType.UPDATE_TRAFFIC_ENDPOINT,
        IeType.REMOVE_TRAFFIC_ENDPOINT,
        IeType.ETHERNET_PACKET_FILTER,
        IeType.ETHERNET_PDU_SESSION_INFORMATION,
        IeType.ETHERNET_TRAFFIC_INFORMATION,
        IeType.ADDITIONAL_MONITORING_TIME,
        IeType.CREATE_MAR,
        IeType.REMOVE_MAR,
        IeType.UPDATE_MAR,
        IeType.SESSION_RETENTION_INFORMATION,
        IeType.USER_PLANE_PATH_RECOVERY_REPORT,
        IeType.UE_IP_ADDRESS_POOL_INFORMATION,
        IeType.UPDATED_PDR,
        IeType.PARTIAL_FAILURE_INFORMATION,
    }
)
"""Those whose value is IEs again (TS 29.244 table 8.1.2-1)."""


def walk(ies: Iterable[Ie]) -> Iterator[Ie]:
    """Every IE at every depth, outer before inner."""
    for one in ies:
        yield one
        if one.type in GROUPED:
            yield from walk(grouped(one.value))


def remade(ies: Iterable[Ie]) -> tuple[Ie, ...]:
    """Every group opened and made anew from its members."""
    return tuple(group(one.type, remade(grouped(one.value))) if one.type in GROUPED else one for one in ies)
