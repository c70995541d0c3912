# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`wnodes doctor` and the playbook `preflight` on a site that is well, and on one that is not."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e import lab
from tests.patience import patience

SITE = str(lab.REPO / "playbooks" / "site.yml")
#: what was spoiled on hv2, and how it is made good again
SPOIL = """
chmod -x /etc/slurm/prolog.d/50-wnodes
sed -i.e2e 's/^host: .*/&\\nlease_ttl_s: 400.0/' /etc/wnodes/hypervisor.yml
systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service
"""
MEND = """
chmod +x /etc/slurm/prolog.d/50-wnodes
[ ! -e /etc/wnodes/hypervisor.yml.e2e ] || mv /etc/wnodes/hypervisor.yml.e2e /etc/wnodes/hypervisor.yml
systemctl start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket
"""


def doctor(node: str, *arguments: str) -> dict[str, Any]:
    """Run ``wnodes doctor --json`` on a machine; return what it found by host."""
    limit = () if "--timeout" in arguments else ("--timeout", str(round(60 * patience())))
    said = lab.sh(node, f"wnodes doctor --json {' '.join((*arguments, *limit))}; echo code $?", limit_s=120)
    answer, _newline, code = said.rstrip().rpartition("\n")
    return {"code": int(code.split()[1]), **{host["host"]: host for host in json.loads(answer)["hosts"]}}


def failures(host: dict[str, Any]) -> list[str]:
    """Return the checks that failed."""
    return [finding["check"] for finding in host["findings"] if finding["outcome"] == "failure"]


def test_a_site_that_is_well_is_found_well_from_the_head_and_on_each_node() -> None:
    found = doctor("head")
    assert {name: failures(host) for name, host in found.items() if name != "code"} == {
        "head": [],
        "hv1": [],
        "hv2": [],
    }
    assert found["code"] == 0
    assert all(not found[host]["unreachable"] for host in ("head", "hv1", "hv2"))
    checks = {finding["check"] for finding in found["hv1"]["findings"]}
    assert {"slurm.node", "libvirt.answers", "network.bridge", "services.hook", "virtualisation.kvm"} <= checks
    own = doctor("hv1")
    assert (own["code"], failures(own["hv1"])) == (0, [])


def test_what_was_spoiled_is_named_with_its_cure_on_that_node_alone() -> None:
    try:
        lab.sh("hv2", SPOIL)
        found = doctor("head", "'hv*'")
    finally:
        lab.sh("hv2", MEND)
        lab.until("the site to be well", lab.is_well, lab.CLEAN_S)
    assert (found["code"], failures(found["hv1"])) == (1, [])
    assert set(failures(found["hv2"])) >= {"services.hook", "libvirt.answers", "slurm.node_timeout"}
    (hook,) = [finding for finding in found["hv2"]["findings"] if finding["check"] == "services.hook"]
    assert (hook["value"], hook["reason"]) == ("0644", "is not executable")
    assert "run the playbook site" in hook["hint"]


def test_a_node_whose_services_are_down_looks_at_itself_and_is_unreachable_from_the_head() -> None:
    with lab.stopped("hv2", "wnodes-bait", "wnodes-hypervisor"):
        own, seen = doctor("hv2"), doctor("head", "hv2", "--timeout", "15")
    lab.until("the site to be well", lab.is_well, lab.CLEAN_S)
    assert own["code"] == 1
    assert {"services.units", "services.answers"} <= set(failures(own["hv2"]))
    assert seen["code"] == 3
    assert len(seen["hv2"]["unreachable"]) == 2


def test_a_roll_out_to_nodes_that_are_not_fit_touches_nothing_of_them() -> None:
    done = lab.ansible("ansible-playbook", SITE, "-e", "hypervisor_uplink=nope0")
    assert done.returncode != 0
    assert "network.uplink: uplink nope0: no such device; this node has" in done.stdout
    assert done.stdout.count("changed=0") == 3, done.stdout
    assert "Install libvirt and QEMU" not in done.stdout


def test_a_head_node_that_is_not_fit_ends_the_run() -> None:
    ranges = [{"prefix": "hv", "first": 1, "address": "10.77.0.100", "count": 9}]
    done = lab.ansible("ansible-playbook", SITE, "-e", json.dumps({"nameserver_ranges": ranges}))
    assert done.returncode != 0
    assert "names.ranges: host name hv1 (10.77.0.11): VMs are to have it with 10.77.0.100" in done.stdout
    assert "nothing is rolled out, because head does not meet the requirements" in done.stdout
    assert "Run the nameserver" not in done.stdout
