# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we want a VM to be, down to the XML."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.model.errors import RequestError
from wnodes.model.image import Artefact, CachedImage, Image
from wnodes.model.lease import Lease, NetworkSettings
from wnodes.model.resources import Overheads, Resources
from wnodes.model.vm import Mount, VmRequest
from wnodes.virt.domain import Domain, to_xml
from wnodes.virt.policy import HostFacts, VmPaths, check_request, domain_uuid, make_domain

GOLDEN = Path(__file__).parent / "golden"
IMAGE = Image(
    digest="0123456789abcdef" * 4,
    format="qcow2",
    virtual_size=3 << 30,
    size=400 << 20,
    disk=Artefact("https://head/disk.qcow2", "0123456789abcdef" * 4),
    kernel=Artefact("https://head/vmlinuz", "1" * 64),
    initrd=Artefact("https://head/initrd", "2" * 64),
    root_device="/dev/vda",
    cmdline="console=ttyS0 root=/dev/vda rw quiet",
)
CACHED = CachedImage(IMAGE, "/var/lib/wnodes/images/0/disk.qcow2", "/var/lib/wnodes/images/0/vmlinuz", "/images/initrd")
LEASE = Lease(
    "vwn-100", "52:54:00:4d:00:64", "10.77.0.100", NetworkSettings(24, "10.77.0.1"), "slurm-17.1", "hv1", 7, 1e9
)
SEALED = replace(CACHED, disk="/var/lib/wnodes/sealed/0/1/disk.qcow2", base=CACHED.disk)
REQUEST = VmRequest("slurm-17.1", "alice & <bob>", "worker_debian12_x86_64", Resources(1, 1024))
OVERHEADS = Overheads(192, 256, 0, 0)


def domain(request: VmRequest, accel: str, bridge: str = "br.default", image: CachedImage = CACHED) -> Domain:
    folder = f"/var/lib/wnodes/vms/{request.id}"
    scratch = f"{folder}/scratch.raw" if request.resources.scratch_mib else ""
    files = VmPaths(f"{folder}/root.qcow2", scratch, f"{folder}/console.log", f"{folder}/channel.sock")
    return make_domain(request, LEASE, image, files, HostFacts(accel, bridge, OVERHEADS))


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("kvm_smallest", lambda: domain(REQUEST, "kvm")),
        (
            "tcg_with_everything",
            lambda: domain(
                replace(
                    REQUEST,
                    resources=Resources(4, 3000, 10240),
                    mounts=(Mount("/home", "/home"), Mount("/opt/site/software", "/opt/software", True)),
                ),
                "qemu",
            ),
        ),
        ("sealed_image", lambda: domain(REQUEST, "kvm", image=SEALED)),
        ("user_network", lambda: domain(REQUEST, "qemu", bridge="")),
    ],
)
def test_golden(name: str, made) -> None:
    golden = GOLDEN / f"{name}.xml"
    xml = to_xml(made())
    if os.environ.get("WNODES_WRITE_GOLDEN"):
        golden.write_text(xml)
    assert xml == golden.read_text()


def test_the_guest_gets_its_overhead_on_top() -> None:
    made = domain(REQUEST, "kvm")
    assert made.memory_mib == 1024 + 192


def test_ports_for_hot_plug_stay_free_whatever_is_plugged_in() -> None:
    for mounts in range(4):
        request = replace(REQUEST, mounts=tuple(Mount(f"/m{i}", f"/m{i}") for i in range(mounts)))
        # disk, card, serial, balloon, rng
        assert domain(request, "kvm").root_ports == 5 + mounts + 10


def test_the_uuid_is_the_requests() -> None:
    assert domain_uuid("a") == domain_uuid("a") != domain_uuid("b")


@given(st.text())
def test_whatever_the_owner_is_called_the_xml_can_be_read(owner: str) -> None:
    root = ET.fromstring(to_xml(domain(replace(REQUEST, owner=owner), "kvm")))
    assert root.findtext("name") == "vwn-100"


def test_mounts_must_be_allowed_even_by_detours(tmp_path: Path) -> None:
    allowed = (str(tmp_path / "home"),)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "link").symlink_to("/etc")
    good = [allowed[0], f"{allowed[0]}/alice"]
    bad = [
        "/etc",
        f"{allowed[0]}/link",
        f"{allowed[0]}2",
        f"{allowed[0]}/../x",
        "home",
        "/",
        f"{allowed[0]}/a b",
        "/\n",
    ]
    for source in good:
        check_request(replace(REQUEST, mounts=(Mount(source, "/home"),)), allowed, 8192, OVERHEADS)
    for source in bad:
        with pytest.raises(RequestError):
            check_request(replace(REQUEST, mounts=(Mount(source, "/home"),)), allowed, 8192, OVERHEADS)
    for target in ("/", "x", "/a/../b", "/a b", "/a\tb", ""):
        with pytest.raises(RequestError):
            check_request(replace(REQUEST, mounts=(Mount(good[0], target),)), allowed, 8192, OVERHEADS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "../../etc"},
        {"id": "-x"},
        {"id": "x" * 65},
        {"id": "a\n"},
        {"resources": Resources(0, 512)},
        {"resources": Resources(256, 512)},
        {"resources": Resources(1, 0)},
        {"resources": Resources(1, 512, -1)},
        {"resources": Resources(1, 8192)},
        {"mounts": (Mount("/home", "/x"), Mount("/home", "/x"))},
        {"labels": {f"key{number}": "" for number in range(17)}},
        {"labels": {"": "x"}},
        {"labels": {"Job": "x"}},
        {"labels": {"_transport": "x"}},
        {"labels": {"a=b": "x"}},
        {"labels": {"job": "1\n2"}},
        {"labels": {"job": "\x1b[2J"}},
        {"labels": {"job": "x" * 129}},
    ],
)
def test_what_can_never_be_made_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        check_request(replace(REQUEST, **wrong), ("/home",), 8192, OVERHEADS)  # type: ignore[arg-type]


def test_labels_are_short_printable_texts() -> None:
    labels = {"job": "17_2", "job_name": 'größe = "1"', "user": "alice", **{f"key{n}": "x" * 128 for n in range(13)}}
    check_request(replace(REQUEST, labels=labels), (), 8192, OVERHEADS)
