# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags as a node has them: refused ones cost themselves only, good ones are fetched before a job asks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST, TAG, release
from tests.unit.plugins.module_utils.hypervisor.node_fixture import Node, request
from wnodes.model.errors import ImageError, RequestError, UnavailableError
from wnodes.model.image import Allowed, Rollout

OTHER = "other_debian12_x86_64"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.directory.set_tags((OTHER,), release())
    made.run()
    return made


def states(node: Node) -> dict[str, str]:
    return {image.tag: image.state for image in node.hypervisor.status().images}


def test_images_are_made_ready_before_anybody_asks(node: Node) -> None:
    assert states(node) == {TAG: "ready", OTHER: "ready"}


def test_a_refused_image_is_not_offered_and_the_node_stays_well(node: Node) -> None:
    node.trust.refused[OTHER] = "has expired"
    node.clock.advance(10)
    node.run()
    status = node.hypervisor.status()
    assert (status.ok, status.tags) == (True, (TAG,))
    assert states(node)[OTHER] == "refused"
    with pytest.raises(RequestError, match="has expired"):
        node.hypervisor.create(request(tag=OTHER))


def test_a_vm_whose_image_is_refused_in_the_last_moment_does_not_start(node: Node) -> None:
    node.hypervisor.create(request(tag=OTHER))
    node.trust.refused[OTHER] = "is rolled back"
    node.run()
    assert node.state() == "BROKEN"
    assert "is rolled back" in node.hypervisor.get("r1").reason
    assert node.host.list() == ()


def test_only_who_may_use_an_image_gets_it(node: Node) -> None:
    secret = release(replace(MANIFEST, version=2, allowed=Allowed(("bob",), ("atlas",))))
    node.directory.set_tags((OTHER,), secret)
    node.clock.advance(10)
    node.run()
    with pytest.raises(RequestError, match=r"alice may not use this image.*users bob; groups atlas"):
        node.hypervisor.create(request(tag=OTHER))
    node.hypervisor.create(request("r2", tag=OTHER, groups=("physics", "atlas")))
    node.hypervisor.create(request("r3", tag=OTHER, owner="bob"))


def test_a_rollout_reaches_its_hosts_only(node: Node) -> None:
    node.directory.roll_out(TAG, Rollout(release(replace(MANIFEST, version=2)), ("hv1",)))
    node.directory.roll_out(OTHER, Rollout(release(replace(MANIFEST, version=2)), ("hv2",)))
    node.clock.advance(10)
    node.run()
    assert {image.tag: image.version for image in node.hypervisor.status().images} == {TAG: 2, OTHER: 1}


def test_an_image_that_can_not_be_fetched_is_tried_again_and_named(node: Node) -> None:
    node.images.error = UnavailableError(object="image cache", reason="no route to host")
    newer = replace(MANIFEST, version=2, disk=replace(MANIFEST.disk, digest="e" * 64))
    node.directory.set_tags((TAG,), release(newer))
    node.clock.advance(10)
    node.run()
    (image,) = (image for image in node.hypervisor.status().images if image.tag == TAG)
    assert (image.state, image.digest[0]) == ("failed", "e")
    assert "no route to host" in image.reason
    node.images.under_way = {"e" * 64: (100 << 20, 400 << 20, 100 << 20)}
    (image,) = (image for image in node.hypervisor.status().images if image.tag == TAG)
    assert image.progress == "100 of 400 MiB, 100 MiB/s, 3 s left"
    node.images.error = None
    node.clock.advance(10)
    node.run()
    assert states(node)[TAG] == "ready"


def test_a_node_that_can_verify_nothing_says_so_and_closes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def admit(*_arguments: object) -> None:
        raise UnavailableError(object="image", value="/ca.crt", reason="the authority of the signers is missing")

    monkeypatch.setattr(node.trust, "admit", admit)
    node.clock.advance(10)
    node.run()
    assert "the authority of the signers is missing" in node.hypervisor.status().problems[0]


def test_a_damaged_image_does_not_hide_the_others(node: Node) -> None:
    node.images.error = ImageError(object="image", reason="damaged")
    node.directory.set_tags(
        (OTHER,), release(replace(MANIFEST, version=2, disk=replace(MANIFEST.disk, digest="e" * 64)))
    )
    node.clock.advance(10)
    node.run()
    assert states(node) == {TAG: "ready", OTHER: "failed"}


def test_a_damaged_image_found_by_the_regular_look_is_fetched_anew(tmp_path: Path) -> None:
    node = Node(tmp_path, image_scrub_s=60.0)
    node.directory.set_tags((OTHER,), release())
    node.run()
    assert node.images.scrubs == 0
    node.images.damaged = (MANIFEST.digest,)
    before = len(node.images.ensured)
    node.run(node.config.image_scrub_s)
    assert node.images.scrubs == 1
    assert len(node.images.ensured) == before + 2
    assert states(node)[TAG] == "ready"
