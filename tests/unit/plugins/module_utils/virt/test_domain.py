# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our metadata comes back as it was written, and nothing else is taken for it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.module_utils.virt.test_policy import REQUEST, domain
from wnodes.model.vm import Mount
from wnodes.virt.domain import NAMESPACE, Filesystem, Interface, Metadata, device_xml, has_device, read_metadata, to_xml

METADATA = Metadata("alice & <bob>", "slurm-17.1", "0123456789abcdef" * 4, "vwn-100", "10.77.0.100", 7)


def test_metadata_comes_back() -> None:
    element = ET.fromstring(to_xml(domain(REQUEST, "kvm"))).find(f"metadata/{{{NAMESPACE}}}vm")
    assert element is not None
    assert read_metadata(ET.tostring(element, encoding="unicode")) == METADATA


def test_metadata_as_libvirt_gives_it_back() -> None:
    text = """<vm owner="alice &amp; &lt;bob>" request="slurm-17.1" image="%s">
  <lease name="vwn-100" address="10.77.0.100" epoch="7"/>
</vm>""" % ("0123456789abcdef" * 4)
    assert read_metadata(text) == METADATA


@pytest.mark.parametrize("text", ["", "<vm/>", "<vm", "<a><lease epoch='x' name='' address=''/></a>", "junk"])
def test_anything_else_is_not_ours(text: str) -> None:
    assert read_metadata(text) is None


@given(st.text(max_size=200))
def test_reading_never_fails(text: str) -> None:
    assert read_metadata(text) is None


def test_a_device_that_is_attached_is_described_as_one_that_was_there_from_the_beginning() -> None:
    made = domain(replace(REQUEST, mounts=(Mount("/home", "/home"),)), "kvm")
    whole = to_xml(made)
    for device in made.interfaces + made.filesystems:
        assert "".join(device_xml(device).split()) in "".join(whole.split())


@pytest.mark.parametrize(
    ("device", "there"),
    [
        (Interface("52:54:00:4d:00:64", "another"), True),
        (Interface("52:54:00:4D:00:64", ""), True),
        (Interface("52:54:00:4d:00:65", "br.default"), False),
        (Filesystem("wnodes0", "/elsewhere"), True),
        (Filesystem("wnodes1", "/home"), False),
    ],
)
def test_devices_are_known_again_by_mac_and_tag(device: Interface | Filesystem, there: bool) -> None:
    xml = to_xml(domain(replace(REQUEST, mounts=(Mount("/home", "/home"),)), "kvm"))
    assert has_device(xml, device) is there
