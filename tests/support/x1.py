"""What X1 can say, for hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from lawful_intercept.identifiers import TargetIdentifier
from lawful_intercept.x1 import exchange as e
from lawful_intercept.x1 import extensions as x
from lawful_intercept.x1 import messages as m

NOW = datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC)

uuids = st.uuids()
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=40)
words = st.from_regex(r"[!-~]{1,16}", fullmatch=True)
numbers = st.integers(-(10**15), 10**15)
countries = st.from_regex(r"[A-Z]{2}", fullmatch=True)
keys = st.sampled_from(["file:/etc/li/agency.key", "pkcs11:object=agency;type=secret-key"])

targets = st.one_of(
    st.from_regex(r"[0-9]{1,15}", fullmatch=True).map(lambda v: TargetIdentifier("e164Number", v)),
    st.from_regex(r"[0-9]{6,15}", fullmatch=True).map(lambda v: TargetIdentifier("supiimsi", v)),
    st.from_regex(r"[0-9]{14}", fullmatch=True).map(lambda v: TargetIdentifier("peiImei", v)),
    st.from_regex(r"sips?:[a-z0-9&;=]{1,9}@[a-z.]{1,9}", fullmatch=True).map(lambda v: TargetIdentifier("sipUri", v)),
    st.ip_addresses(v=4).map(lambda v: TargetIdentifier("ipv4Address", str(v))),
    st.ip_addresses(v=6).map(lambda v: TargetIdentifier("ipv6Address", v.exploded)),
)
extensions = st.builds(
    m.Extension,
    texts.filter(lambda owner: owner != x.OWNER),
    st.lists(
        st.sampled_from(
            [
                b'<a xmlns="urn:example:other"></a>',
                b'<b:a xmlns:b="urn:example:other" at="1">text &amp; more<c xmlns="urn:third">  </c> tail</b:a>',
            ]
        ),
        max_size=2,
    ).map(tuple),
)
signatures = st.builds(x.Signature, st.sampled_from(x.SignatureAlgorithm), keys, st.integers(1, 99), st.integers(1, 99))
handovers = st.builds(
    x.HandoverSettings,
    authorisation_country=countries,
    delivery_country=countries,
    operator=words,
    element=st.just("") | words,
    point=st.from_regex(r"[A-Za-z0-9 ]{0,8}", fullmatch=True),
    domain_version=st.integers(0, 16_383),
    time_form=st.sampled_from(x.TimeForm),
    encryption=st.none() | st.builds(x.Encryption, st.sampled_from(x.EncryptionAlgorithm), keys),
    integrity=st.none()
    | st.builds(
        x.Integrity,
        st.sampled_from(x.HashAlgorithm),
        st.integers(1, 99),
        st.integers(1, 99),
        st.none() | signatures,
    ),
    acknowledgements=st.booleans(),
    hi2_port=st.just(0) | st.integers(2, 65_535),
    hi3_port=st.just(0) | st.integers(2, 65_535),
    tls=st.booleans(),
    keepalive_s=st.integers(1, 86_400),
    keepalive_liid=words,
)


def some(strategy: st.SearchStrategy[object], least: int = 0) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, min_size=least, max_size=3).map(tuple)


any_extensions = st.one_of(
    some(extensions),
    handovers.map(lambda settings: (x.handover_extension(settings),)),
)
addresses = st.builds(m.SocketAddress, st.ip_addresses(), st.integers(2, 65_535)) | st.builds(
    m.UriAddress, st.sampled_from(["https://lemf.example/hi", "sftp:host"])
)
destinations = st.builds(
    m.DestinationDetails, uuids, st.sampled_from(m.DeliveryType), addresses, texts, extensions=any_extensions
)


def _in_order(moments: tuple[datetime | None, datetime | None]) -> bool:
    start, end = moments
    return start is None or end is None or start < end


mediations = st.tuples(st.none() | times, st.none() | times).filter(_in_order).flatmap(
    lambda span: st.builds(
        m.MediationDetails,
        st.from_regex(r"[!-~]{1,25}|[0-9a-f]{26,50}", fullmatch=True),
        st.sampled_from(m.HandoverType),
        st.just(span[0]),
        st.just(span[1]),
        some(uuids),
        any_extensions,
    )
)
tasks = st.builds(
    m.TaskDetails,
    uuids,
    some(targets, 1),
    st.sampled_from(m.DeliveryType),
    some(uuids),
    some(mediations),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.booleans(),
    st.none() | uuids,
    some(st.sampled_from(m.ServiceType)),
    any_extensions,
)
faults = some(st.builds(m.UnresolvedFault, numbers, texts))
task_records = st.builds(
    m.TaskRecord,
    tasks,
    st.builds(
        m.TaskStatus,
        st.sampled_from(m.Provisioning),
        faults,
        st.none() | times,
        st.none() | numbers,
        st.none() | numbers,
        st.none() | times,
        st.none() | numbers,
        some(extensions),
    ),
)
destination_records = st.builds(
    m.DestinationRecord, destinations, st.builds(m.DestinationStatus, st.sampled_from(m.DeliveryStatus), faults)
)
statuses = st.builds(m.ElementStatus, st.sampled_from(m.ElementCondition), faults)
codes = st.none() | numbers

requests = st.one_of(
    st.builds(e.ActivateTask, tasks),
    st.builds(e.ModifyTask, tasks),
    st.builds(e.DeactivateTask, uuids),
    st.builds(e.CreateDestination, destinations),
    st.builds(e.ModifyDestination, destinations),
    st.builds(e.RemoveDestination, uuids),
    st.builds(e.GetTaskDetails, uuids),
    st.builds(e.GetDestinationDetails, uuids),
    st.sampled_from(e.Command),
    st.builds(e.ObjectRequest, st.sampled_from(e.ObjectCommand)),
    st.builds(e.ReportTaskIssue, uuids, st.sampled_from(m.ReportType), codes, st.none() | texts, some(extensions)),
    st.builds(e.ReportDestinationIssue, uuids, st.sampled_from(m.ReportType), codes, st.none() | texts),
    st.builds(e.ReportNEIssue, st.sampled_from(m.IssueType), texts, codes, some(extensions)),
)
responses = st.one_of(
    st.builds(e.Done, st.sampled_from(sorted(e.MESSAGES - e.ANSWERS.keys() - e.OBJECT_MESSAGES)), st.sampled_from(m.Outcome)),
    st.builds(e.Refusal, st.sampled_from(sorted(e.MESSAGES)), numbers, texts),
    st.builds(e.TaskAnswer, task_records),
    st.builds(e.DestinationAnswer, destination_records),
    st.builds(e.ElementStatusAnswer, statuses),
    st.builds(e.AllDetails, statuses, some(task_records), some(destination_records)),
    st.builds(e.AllTaskDetails, some(task_records)),
    st.builds(e.AllDestinationDetails, some(destination_records)),
    st.builds(e.AllIdentifiers, some(uuids), some(uuids), some(uuids)),
)
headers = st.builds(m.Header, words, words, times, uuids)
