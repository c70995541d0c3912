# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clone gets disks, memory and devices of its own, whatever happened on the way before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.virt.template_fixture import Node
from wnodes.model.errors import ImageError, UnavailableError, VirtError
from wnodes.virt.clone import clone
from wnodes.virt.template import DISK, Template


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, scratch_mib=100)


@pytest.fixture
def template(node: Node) -> Template:
    built = node.templates.build(*node.kind)
    node.ran.clear()
    return built


def test_a_clone_is_complete(node: Node, template: Template) -> None:
    domain = node.domain("vwn-1")
    assert list(clone(node.host, template, domain, node.run)) == ["overlay", "restore", "nic", "virtiofs"]
    fake = node.host.domains[domain.uuid]
    assert (fake.name, fake.metadata, fake.booted) == ("vwn-1", domain.metadata, True)
    assert tuple(fake.attached) == domain.interfaces + domain.filesystems
    assert fake.domain is not None
    assert fake.domain.disks[0].backing == ((template.disk, "qcow2"), *node.image.chain)
    overlay, scratch = node.ran
    assert overlay[-5:] == ("-b", os.path.join(template.folder, DISK), "-F", "qcow2", domain.disks[0].path)
    assert scratch[-2:] == (template.scratch, domain.disks[1].path)


def test_a_clone_that_runs_only_gets_what_it_lacks(node: Node, template: Template) -> None:
    domain = node.domain("vwn-1")
    clone(node.host, template, domain, node.run)
    node.host.domains[domain.uuid].attached.pop()
    node.ran.clear()
    assert list(clone(node.host, template, domain, node.run)) == ["nic", "virtiofs"]
    assert node.ran == []
    assert node.host.restored == [domain.uuid]
    assert tuple(node.host.domains[domain.uuid].attached) == domain.interfaces + domain.filesystems


def test_clones_are_told_apart(node: Node, template: Template) -> None:
    for name in ("vwn-1", "vwn-2"):
        clone(node.host, template, node.domain(name), node.run)
    assert sorted(found.name for found in node.host.list()) == ["vwn-1", "vwn-2"]


def test_a_refused_restore_is_not_the_templates_fault(node: Node, template: Template) -> None:
    node.host.refuses_to_restore = "out of memory"
    with pytest.raises(VirtError, match="out of memory"):
        clone(node.host, template, node.domain("vwn-1"), node.run)
    assert node.templates.find(*node.kind) == template


def test_a_template_of_another_shape_is(node: Node, template: Template) -> None:
    domain = node.domain("vwn-1")
    with pytest.raises(ImageError, match="each disk must be vda"):
        clone(node.host, template, replace(domain, disks=domain.disks[:1]), node.run)


def test_a_host_that_is_down_says_nothing(node: Node, template: Template) -> None:
    node.host.down = True
    with pytest.raises(UnavailableError) as caught:
        clone(node.host, template, node.domain("vwn-1"), node.run)
    assert type(caught.value) is UnavailableError
    assert node.ran == []
