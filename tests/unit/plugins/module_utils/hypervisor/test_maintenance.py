# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases stay ours, orphans go, and nobody else's VM is ever touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases import RELEASE
from tests.unit.plugins.module_utils.hypervisor.node_fixture import IMAGE, TAG, Node, request, uuid
from wnodes.model.errors import RequestError, UnavailableError
from wnodes.virt.domain import Metadata
from wnodes.virt.policy import domain_uuid


def orphan(node: Node, vm_id: str = "lost") -> str:
    lease = node.directory.lease(vm_id, "hv1", 10_000)
    metadata = Metadata("alice", vm_id, IMAGE.digest, lease.name, lease.address, lease.epoch)
    node.host.add_foreign(domain_uuid(vm_id), lease.name, metadata)
    return domain_uuid(vm_id)


def test_an_orphan_goes_after_a_delay_with_its_lease(node: Node) -> None:
    stray = orphan(node)
    node.host.add_foreign("foreign", "database")
    node.make()
    node.hypervisor.use("r1")
    node.run(node.config.orphan_delay_s - 20)
    assert stray in node.host.domains
    node.run(60)
    assert set(node.host.domains) == {uuid(), "foreign"}
    assert [lease.holder for lease in node.directory.leases()] == ["r1"]


def test_nobody_is_reaped_on_partial_knowledge(node: Node) -> None:
    orphan(node)
    node.make()
    node.host.down = True
    node.run(node.config.orphan_delay_s * 3)
    assert node.host.destroyed == []
    node.host.come_back()
    node.run(node.config.orphan_delay_s - 20)
    assert set(node.host.domains) == {uuid(), domain_uuid("lost")}


def test_files_of_nobody_go_after_a_delay(node: Node) -> None:
    node.run()
    node.files.prepare("old", node.images.ensure(IMAGE), 0)
    node.run(node.config.orphan_delay_s - 20)
    assert node.files.all() == ("old",)
    node.run(40)
    assert node.files.all() == ()


def test_leases_are_renewed_as_long_as_the_vm_is_there(node: Node) -> None:
    node.make()
    node.run(node.config.lease_ttl_s * 5)
    (lease,) = node.directory.leases()
    assert (lease.holder, lease.epoch) == ("r1", 1)
    held = node.vm().lease
    assert held is not None
    assert held.expires > node.clock.now()


def test_leases_are_renewed_at_once_after_an_outage_of_any_length(node: Node) -> None:
    node.make()
    node.nameserver.down = True
    node.run(3600.0)
    during = node.hypervisor.leases()
    assert during.left_s is not None and during.left_s < 0
    assert during.failed > 200
    node.nameserver.down = False
    node.run(15)
    assert [lease.holder for lease in node.directory.leases()] == ["r1"]
    after = node.hypervisor.leases()
    assert after.left_s is not None and after.left_s > node.config.lease_ttl_s - 15
    assert after.failed == during.failed


def test_no_vm_is_kept_from_its_lease_by_another_that_has_lost_its_own(tmp_path: Path) -> None:
    node = Node(tmp_path, names=2)
    node.make("r1")
    node.make("r2")
    node.directory.release("r1", 1)
    node.directory.lease("other", "hv2", 10_000)
    before = node.vm("r2").lease
    node.run(60)
    after = node.vm("r2").lease
    assert before is not None and after is not None
    assert after.expires > before.expires
    assert node.hypervisor.leases().failed > 0


def test_a_nameserver_that_goes_away_in_between_is_asked_once_and_not_for_each_vm(node: Node) -> None:
    for number in range(3):
        node.make(f"r{number}")
        node.directory.release(f"r{number}", 1)
    asked: list[str] = []

    def lease(holder: str, *_more: object) -> None:
        asked.append(holder)
        raise UnavailableError(object="nameserver", reason="did not answer within 5 s")

    node.nameserver.lease = lease  # type: ignore[attr-defined]
    before = node.hypervisor.leases().failed
    node.run(31)
    assert len(asked) == node.hypervisor.leases().failed - before > 0


def test_without_vms_there_is_no_lease_to_run_out(node: Node) -> None:
    node.run(60)
    assert node.hypervisor.leases().left_s is None


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_step_of_the_nodes_clock_costs_no_lease_and_no_vm(node: Node, hours: int) -> None:
    node.make()
    node.clock.step(hours * 3600)
    node.run(node.config.lease_ttl_s * 3)
    assert (node.state(), [lease.holder for lease in node.directory.leases()]) == ("READY", ["r1"])


def test_a_lease_that_ran_out_is_taken_up_again_while_its_name_is_free(node: Node) -> None:
    node.make()
    node.nameserver.down = True
    node.run(node.config.lease_ttl_s * 3)
    node.nameserver.down = False
    node.run(60)
    assert node.state() == "READY"
    assert [(lease.holder, lease.name) for lease in node.directory.leases()] == [("r1", "vwn-100")]


def test_a_nameserver_that_has_lost_its_leases_gives_vms_their_names_again(node: Node) -> None:
    node.make()
    node.directory.release("r1", 1)
    node.run(60)
    assert node.state() == "READY"
    assert [(lease.holder, lease.name) for lease in node.directory.leases()] == [("r1", "vwn-100")]


def test_a_name_that_went_to_somebody_else_breaks_the_vm(node: Node) -> None:
    node.make()
    node.nameserver.down = True
    node.run(node.config.lease_ttl_s * 3)
    for number in range(4):
        node.directory.lease(f"other{number}", "hv2", 10_000)
    node.directory.release("other0", 1)
    node.nameserver.down = False
    node.run(60)
    assert (node.state(), "went to somebody else" in node.vm().reason) == ("BROKEN", True)
    assert node.host.domains == {}
    assert "r1" not in [lease.holder for lease in node.directory.leases()]


def test_the_nameserver_is_told_of_our_vms_at_once(node: Node) -> None:
    node.run()
    node.make()
    (beat,) = node.directory.heartbeats()
    assert (beat.role, beat.host, beat.status["ok"], beat.status["tags"]) == ("hypervisor", "hv1", True, [TAG])
    assert [(vm["request"]["id"], vm["state"]) for vm in beat.status["vms"]] == [("r1", "READY")]


def test_a_tag_is_asked_for_afresh_before_it_is_refused(node: Node) -> None:
    node.run()
    node.directory.set_tags(("new_debian12_x86_64",), RELEASE)
    assert node.hypervisor.create(request(tag="new_debian12_x86_64")).request.tag == "new_debian12_x86_64"


def test_an_unknown_tag_is_not_refused_while_nobody_can_tell(node: Node) -> None:
    node.run()
    node.nameserver.down = True
    node.hypervisor.create(request(tag="new_debian12_x86_64"))
    node.nameserver.down = False
    with pytest.raises(RequestError, match=f"known: {TAG}"):
        node.hypervisor.create(request("r2", tag="newer_debian12_x86_64"))
