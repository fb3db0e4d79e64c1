from __future__ import annotations

from tests.nf.planning.samples import fleet_data, problems, shown


def test_an_address_is_used_once_whatever_it_is_for() -> None:
    data = fleet_data()
    data["spec"]["appliances"][2]["loopback"] = "10.1.0.1"
    assert shown(problems(fleet=data)) == [
        (
            "spec.appliances[1].interfaces[0].address",
            "10.1.0.1/24",
            "this address is taken by spec.appliances[2].loopback",
            "give every interface, loopback and management port its own address",
        )
    ]


def test_the_interfaces_of_a_link_share_a_subnet() -> None:
    data = fleet_data()
    data["spec"]["appliances"][5]["interfaces"][0]["address"] = "10.3.9.10/24"
    assert shown(problems(fleet=data)) == [
        (
            "spec.links[6].endpoints[1]",
            "r1:eth1",
            "10.3.9.10/24 is not in 10.3.1.0/24, the subnet of the link's first interface",
            "give all interfaces of a link addresses of one subnet",
        )
    ]


def test_a_subnet_belongs_to_one_link() -> None:
    data = fleet_data()
    data["spec"]["appliances"][4]["interfaces"][3]["address"] = "10.3.2.7/24"
    data["spec"]["appliances"][7]["interfaces"][0]["address"] = "10.3.2.8/24"
    assert shown(problems(fleet=data)) == [
        (
            "spec.links[8].id",
            "pop2-r3",
            "10.3.2.0/24 is the subnet of the link pop2-r2 already",
            "give every link its own subnet",
        )
    ]


def test_network_and_broadcast_addresses_are_nobodys() -> None:
    data = fleet_data()
    data["spec"]["appliances"][5]["interfaces"][0]["address"] = "10.3.1.255/24"
    data["spec"]["appliances"][6]["interfaces"][0]["address"] = "10.3.2.0/24"
    assert shown(problems(fleet=data)) == [
        (
            f"spec.appliances[{number}].interfaces[0].address",
            value,
            f"the {what} address of {network} is no host's",
            "choose an address between the first and the last one",
        )
        for number, value, what, network in (
            (5, "10.3.1.255/24", "broadcast", "10.3.1.0/24"),
            (6, "10.3.2.0/24", "network", "10.3.2.0/24"),
        )
    ]


def test_management_is_out_of_band() -> None:
    data = fleet_data()
    data["spec"]["appliances"][0]["management"] = "10.3.1.77"
    assert shown(problems(fleet=data)) == [
        (
            "spec.appliances[0].management",
            "10.3.1.77",
            "management is out-of-band, but 10.3.1.0/24 is a subnet of the data plane",
            "use an address of the management network",
        )
    ]


def test_an_ipv6_loopback_is_one_appliances_and_a_hosts_own() -> None:
    data = fleet_data()
    for number in (1, 2):
        data["spec"]["appliances"][number]["loopback6"] = "2001:db8:ff::3"
    assert shown(problems(fleet=data)) == [
        (
            "spec.appliances[2].loopback6",
            "2001:db8:ff::3",
            "this address is taken by spec.appliances[1].loopback6",
            "give every interface, loopback and management port its own address",
        )
    ]
