"""What the fake NOC answers in these tests."""

from __future__ import annotations

from nf.control.v1 import common_pb2, noc_pb2

AT = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
ANNA = "spiffe://cli.test/operator/anna"

HEADEND = noc_pb2.ApplianceSummary(
    id="headend",
    site="hub",
    role="headend",
    criticality="required",
    serial="SV-HEADEND-0001",
    management="172.20.20.11",
    enrolled=True,
    online=True,
    confirmed_revision=4,
    current=True,
    last_seen=AT,
    software_version="0.1.0",
    sections=["frr", "interfaces"],
    certificate_expires=AT + 86400,
    image=common_pb2.Image(
        role="headend",
        version="0.1.0",
        compatible="streamverse-nf-headend-amd64",
        slot="A",
        good=True,
        update="fell-back",
        update_version="0.2.0",
        update_id="ab12cd34.1",
        other_version="0.2.0",
        fell_back="fell back from 0.2.0 in slot B: driver frr: not converged",
        fell_back_at=AT,
    ),
)
POP2 = noc_pb2.ApplianceSummary(
    id="pop2",
    site="pop2",
    role="pop",
    criticality="optional",
    enrolled=True,
    confirmed_revision=3,
    transaction_state="held",
    alarms=2,
)
APPLIANCES = noc_pb2.ListAppliancesResponse(appliances=[HEADEND, POP2])

ALARM = common_pb2.Alarm(
    id="pop2:path-down:ch1/iptv/r2",
    cause="path-down",
    object="ch1/iptv/r2",
    severity=common_pb2.SEVERITY_CRITICAL,
    text="nothing has come for 3 s",
    remedy="look at `nf channel show ch1`",
    first_at=AT,
    last_at=AT + 3,
    count=4,
    appliance="r2",
)
OVERRIDE = common_pb2.Override(
    id="o-1",
    appliance="pop2",
    section="frr",
    patch_json=b'{"router_id": "10.0.0.9"}',
    reason="test of a spare",
    author=ANNA,
    created_at=AT,
    expires_at=AT + 3600,
)
APPLIANCE = noc_pb2.GetApplianceResponse(
    summary=POP2,
    config_json=b'{"appliance": "pop2", "sections": {"frr": {"router_id": "10.255.0.4"}}}',
    status_json=(
        b'{"units": [{"name": "zebra", "state": "ready", "pid": 812, "restarts": 1, "last_exit": "signal SIGKILL"}]}'
    ),
    alarms=[ALARM],
    overrides=[OVERRIDE],
)


def hop(order: int, appliance: str, point: str, **values: object) -> noc_pb2.HopState:
    base: dict[str, object] = {"verdict": "up", "bitrate_bps": 1_024_000.0, "age_ms": 12.0, "join_ms": -1.0}
    measured = {"packets": 900, "sampled_at": AT, **base, **values}
    return noc_pb2.HopState(path="iptv", order=order, appliance=appliance, point=point, **measured)


CHANNEL_UP = noc_pb2.ChannelState(
    id="ch1",
    name="Channel One",
    lcn=101,
    up=True,
    hops=[
        hop(0, "headend", "contribution", has_continuity=True),
        hop(1, "headend", "source", has_continuity=True),
        hop(2, "c1", "tree"),
        hop(3, "r1", "receiver", has_continuity=True, join_ms=31.4),
    ],
)
CHANNEL_DOWN = noc_pb2.ChannelState(
    id="ch2",
    name="Channel [Two]",
    lcn=102,
    hops=[
        hop(1, "headend", "source", has_continuity=True),
        noc_pb2.HopState(
            path="iptv",
            order=3,
            appliance="r2",
            point="receiver",
            verdict="down",
            age_ms=-1,
            join_ms=-1,
            sampled_at=AT,
            detail="no packet since the join",
        ),
        noc_pb2.HopState(path="iptv", order=3, appliance="r3", point="receiver", verdict="unknown"),
    ],
)

STEP = common_pb2.Step(id="add-ch1", kind="source.add", section="multicast-source", summary="emit ch1", reversible=True)
PLAN = noc_pb2.PlanLineUpResponse(
    appliances=[
        noc_pb2.PlannedAppliance(appliance="headend", steps=[STEP]),
        noc_pb2.PlannedAppliance(
            appliance="pop2",
            steps=[
                common_pb2.Step(id="gate", section="multicast-tree", disruption="one receiver relock", reversible=True),
                common_pb2.Step(id="wipe", section="cache", summary="delete the bucket"),
            ],
        ),
    ],
    stages=[
        noc_pb2.PlannedStage(stage=0, steps=["headend/add-ch1"]),
        noc_pb2.PlannedStage(stage=1, steps=["pop2/gate", "pop2/wipe"]),
    ],
    budget_ms=42_000,
)

REVISIONS = noc_pb2.ListRevisionsResponse(
    revisions=[
        noc_pb2.RevisionSummary(
            revision=4, at=AT, author=ANNA, comment="back", outcome="current", channels=2, restores=2
        ),
        noc_pb2.RevisionSummary(revision=3, at=AT, author=ANNA, outcome="undone", channels=3, without_sites=["pop2"]),
        noc_pb2.RevisionSummary(
            revision=2, at=AT, author=ANNA, comment="two [channels]", outcome="confirmed", channels=2
        ),
    ]
)
REVISION = noc_pb2.GetRevisionResponse(
    summary=REVISIONS.revisions[0],
    lineup=noc_pb2.DocumentText(file="lineup.yaml", text="kind: LineUp # [é]".encode()),
    fleet=noc_pb2.DocumentText(file="fleet.yaml", text=b"kind: Fleet\n"),
)
CHANGES = noc_pb2.DiffRevisionsResponse(
    changes=[
        noc_pb2.Change(key="lineup.channels[ch1].lcn", before="101", after="111"),
        noc_pb2.Change(key="lineup.channels[ch3]", after='{"id":"ch3"}'),
        noc_pb2.Change(key="lineup.channels[ch2]", before='{"id":"ch2"}'),
    ]
)
AUDIT = noc_pb2.ShowAuditResponse(
    records=[
        noc_pb2.AuditRecord(
            number=7,
            at=AT,
            actor=ANNA,
            action="lineup.commit",
            object="revision/4",
            outcome="confirmed",
            detail_json='{"channels":2}',
            hash="ab" * 32,
        )
    ]
)
