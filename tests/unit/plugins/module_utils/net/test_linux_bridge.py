# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend on a node that plays ip, networkctl and systemd-networkd."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from wnodes.model.errors import CommandFailed, NetworkError, StateError
from wnodes.net import networkd
from wnodes.net.linux_bridge import LinuxBridge
from wnodes.net.plan import BridgeDifference
from wnodes.process import Completed

MAC = "52:54:00:00:00:01"
SITE_FILE = """[Match]
Name=eth0
[Network]
Address=192.0.2.10/24
DNS=192.0.2.53
Domains=example.org
[Route]
Destination=0.0.0.0/0
Gateway=192.0.2.1
"""
FILES = networkd.names("br.default")


class Node:
    """A node with one uplink; ``run`` and ``events`` are what the backend gets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: dict[str, dict[str, Any]] = {"eth0": {"mac": MAC}}
        self.calls: list[tuple[str, ...]] = []
        self.managed = True
        #: device that networkd forgets to configure
        self.deaf: set[str] = set()
        self.refuses: set[str] = set()
        (folder / "10-eth0.network").write_text(SITE_FILE)
        self.reload()

    # what networkd does: the first file that matches a device counts
    def reload(self) -> None:
        for path in sorted(self.folder.glob("*.netdev")):
            lines = self._lines(path)
            self.devices.setdefault(lines["Name"][0], {"mac": lines["MACAddress"][0], "kind": "bridge"})
        for name in self.devices:
            self.configure(name)

    def configure(self, name: str) -> None:
        if name in self.deaf:
            return
        device = {key: self.devices[name][key] for key in ("mac", "kind") if key in self.devices[name]}
        for path in sorted(self.folder.glob("*.network")):
            lines = self._lines(path)
            if lines.get("Name") == [name]:
                device.update(file=str(path), lines=lines, master=lines.get("Bridge", [""])[0])
                break
        self.devices[name] = device

    @staticmethod
    def _lines(path: Path) -> dict[str, list[str]]:
        lines: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                key, _sep, value = line.partition("=")
                lines.setdefault(key, []).append(value)
        return lines

    def run(self, argv: tuple[str, ...], *, timeout: float) -> Completed:
        assert timeout > 0
        self.calls.append(argv)
        if any(word in self.refuses for word in argv):
            raise CommandFailed(object=argv[0], value=" ".join(argv), reason="exit code 1: no")
        return Completed(argv, 0, json.dumps(getattr(self, "_" + argv[0])(*argv[1:])), "")

    def _ip(self, *words: str) -> list[dict[str, Any]]:
        if "route" in words:
            return [
                {"dst": to, "gateway": gateway, "dev": name, "protocol": "static", "flags": []}
                for name, device in self.devices.items()
                for to, gateway in zip(
                    device.get("lines", {}).get("Destination", ()), device.get("lines", {}).get("Gateway", ())
                )
                if "-4" in words
            ]
        return [
            {
                "ifname": name,
                "address": device["mac"],
                "master": device.get("master", ""),
                "linkinfo": {"info_kind": device["kind"]} if "kind" in device else {},
                "addr_info": [
                    {"family": "inet", "local": local, "prefixlen": int(bits), "scope": "global"}
                    for local, _slash, bits in (
                        address.partition("/") for address in device.get("lines", {}).get("Address", ())
                    )
                ],
            }
            for name, device in self.devices.items()
        ]

    def _systemctl(self, *words: str) -> None:
        assert words == ("restart", "systemd-networkd.service")
        self.reload()

    def _networkctl(self, *words: str) -> dict[str, Any]:
        if words == ("reload",):
            self.reload()
        elif words[0] == "delete":
            del self.devices[words[1]]
        elif words[0] == "reconfigure":
            for name in words[1:]:
                self.configure(name)
        elif words[1] == "status":
            lines = self.devices[words[2]].get("lines", {})
            return {
                "AdministrativeState": "configured" if self.managed else "unmanaged",
                "DNS": [{"Family": 2, "Address": list(ip_address(dns).packed)} for dns in lines.get("DNS", ())],
                "SearchDomains": [{"Domain": domain} for domain in lines.get("Domains", ())],
            }
        else:
            raise AssertionError(words)
        return {}

    # the subscription: nothing happens by itself here, so one look is enough
    def events(self) -> Node:
        return self

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_exception: object) -> None:
        return

    def wait_until(self, reached: Any, limit_s: float) -> bool:
        assert limit_s > 0
        return bool(reached())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def network(node: Node) -> LinuxBridge:
    return LinuxBridge(node.folder, 5, node.run, node.events)  # type: ignore[arg-type]


def planned(network: LinuxBridge, present: bool = True) -> BridgeDifference:
    return network.bridge_difference("br.default", "eth0", present)


def ours(node: Node) -> set[str]:
    return {path.name for path in node.folder.iterdir()} - {"10-eth0.network"}


def test_create_change_nothing_delete(node: Node, network: LinuxBridge) -> None:
    difference = planned(network)
    assert difference.changed
    assert ours(node) == set()  # only computed so far

    network.apply(difference)
    assert ours(node) == set(FILES)
    assert node.devices["eth0"]["master"] == "br.default"
    assert node.devices["br.default"]["lines"] == {
        "Name": ["br.default"],
        "Address": ["192.0.2.10/24"],
        "DNS": ["192.0.2.53"],
        "Domains": ["example.org"],
        "Destination": ["0.0.0.0/0"],
        "Gateway": ["192.0.2.1"],
    }
    assert node.devices["br.default"]["mac"] == MAC
    assert {(node.folder / file).stat().st_mode & 0o777 for file in FILES} == {0o644}

    again = planned(network)
    assert not again.changed
    node.calls.clear()
    network.apply(again)
    assert node.calls == []

    away = planned(network, present=False)
    assert away.changed
    network.apply(away)
    assert ours(node) == set()
    assert list(node.devices) == ["eth0"]
    assert node.devices["eth0"]["lines"]["Address"] == ["192.0.2.10/24"]
    assert not planned(network, present=False).changed


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_was_edited_or_lost_is_written_again(node: Node, network: LinuxBridge, file: str) -> None:
    network.apply(planned(network))
    (node.folder / file).unlink()
    difference = planned(network)
    assert list(difference.files) == [str(node.folder / file)]
    network.apply(difference)
    assert not planned(network).changed


def test_a_device_deleted_by_hand_comes_back(node: Node, network: LinuxBridge) -> None:
    network.apply(planned(network))
    del node.devices["br.default"]
    difference = planned(network)
    assert (difference.files, difference.live[:1]) == ({}, ("br.default: no such device",))
    network.apply(difference)
    assert ("systemctl", "restart", "systemd-networkd.service") in node.calls
    assert not planned(network).changed


def test_an_uplink_taken_out_by_hand_goes_back(node: Node, network: LinuxBridge) -> None:
    network.apply(planned(network))
    node.devices["eth0"]["master"] = ""
    difference = planned(network)
    assert (difference.files, difference.live) == ({}, ("eth0: not a port of br.default",))
    before = (node.folder / FILES[2]).stat().st_mtime_ns
    network.apply(difference)
    # networkd reads a file again only if it is newer
    assert (node.folder / FILES[2]).stat().st_mtime_ns > before
    assert not planned(network).changed


def test_a_bridge_of_the_sites_own_making_is_left_alone(node: Node, network: LinuxBridge) -> None:
    node.devices = {
        "br.default": {"mac": MAC, "kind": "bridge", "lines": {"Address": ["192.0.2.10/24"]}},
        "eth0": {"mac": MAC, "master": "br.default"},
    }
    assert not planned(network).changed


def test_when_the_bridge_does_not_come_up_all_is_as_before(node: Node, network: LinuxBridge) -> None:
    difference = planned(network)
    node.deaf.add("br.default")
    with pytest.raises(NetworkError) as caught:
        network.apply(difference)
    assert "br.default: no address 192.0.2.10/24" in caught.value.reason
    assert "what was before is back" in caught.value.reason
    assert ours(node) == set()
    assert list(node.devices) == ["eth0"]
    assert node.devices["eth0"]["lines"]["Address"] == ["192.0.2.10/24"]


def test_a_bridge_that_was_there_is_not_deleted_on_the_way_back(node: Node, network: LinuxBridge) -> None:
    network.apply(planned(network))
    (node.folder / FILES[2]).write_text("")
    node.reload()
    difference = planned(network)
    node.deaf.add("eth0")
    with pytest.raises(NetworkError, match="eth0: not a port"):
        network.apply(difference)
    assert "br.default" in node.devices
    assert (node.folder / FILES[2]).read_text() == ""


def test_a_way_back_that_fails_too_is_told(node: Node, network: LinuxBridge) -> None:
    difference = planned(network)
    node.refuses.add("reload")
    with pytest.raises(NetworkError, match="exit code 1: no; going back failed too"):
        network.apply(difference)
    assert ours(node) == set()


def test_an_uplink_without_its_address_on_the_way_back_is_told(node: Node, network: LinuxBridge) -> None:
    difference = planned(network)
    (node.folder / "10-eth0.network").unlink()
    node.deaf.add("br.default")
    with pytest.raises(NetworkError, match="written back, but has no address yet"):
        network.apply(difference)


def test_what_networkd_does_not_manage_is_refused(node: Node, network: LinuxBridge) -> None:
    node.managed = False
    with pytest.raises(NetworkError, match="does not manage it"):
        planned(network)


def test_moving_to_another_uplink_is_refused(node: Node, network: LinuxBridge) -> None:
    network.apply(planned(network))
    node.devices["eth1"] = {"mac": MAC}
    with pytest.raises(StateError, match="another uplink than eth1; remove the bridge first"):
        network.bridge_difference("br.default", "eth1")


def test_a_bridge_with_vms_stays(node: Node, network: LinuxBridge) -> None:
    network.apply(planned(network))
    node.devices["vnet0"] = {"mac": "fe:54:00:00:00:02", "kind": "tun", "master": "br.default"}
    with pytest.raises(StateError, match="vnet0"):
        planned(network, present=False)


def test_files_that_can_not_be_read_or_written_are_named(node: Node, network: LinuxBridge) -> None:
    difference = planned(network)
    (node.folder / FILES[0]).mkdir()
    with pytest.raises(NetworkError, match=FILES[0]):
        network.apply(difference)
    with pytest.raises(NetworkError, match="can't be read"):
        planned(network)


def test_strange_words_of_networkctl_are_an_error(node: Node, network: LinuxBridge) -> None:
    node._networkctl = lambda *words: ["what?"]  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(NetworkError, match="can't be understood"):
        planned(network)
