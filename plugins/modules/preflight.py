#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check whether a machine meets the requirements of its role
version_added: 0.1.0
description:
  - Looks at virtualisation, libvirt, network, host names, clock, disks, memory and Slurm of a machine, before anything
    of this collection is installed there. docs/doctor.md describes each check.
  - Fails if any of them finds what would keep jobs from their virtual machines, and tells all such findings at once,
    each with its cure. What works, but not as well as it could, becomes a warning.
  - What the roles install is not missed. Whether a guest really boots with KVM is tried later, by the hypervisor.
options:
  role:
    description: The role of the machine.
    type: str
    required: true
    choices: [head, node]
  hypervisor:
    description: The configuration that the hypervisor will have, as C(/etc/wnodes/hypervisor.yml). For a node.
    type: dict
  bait:
    description: The configuration that the bait will have, as C(/etc/wnodes/bait.yml). For a node.
    type: dict
  nameserver:
    description: The configuration that the nameserver will have, as C(/etc/wnodes/nameserver.yml). For the head node.
    type: dict
  uplink:
    description: The device that becomes part of the bridge, if any.
    type: str
    default: ""
  reference_time:
    description:
      - The time by the controller's clock, in seconds since the epoch, to compare the machine's clock with.
      - What the task needs to get there is part of the difference; up to 5 seconds are taken as none.
    type: float
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.attributes.info_module
seealso:
  - module: wnodes.farm.node_info
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Check whether the node can have virtual machines
  wnodes.farm.preflight:
    role: node
    uplink: eth0
    hypervisor:
      host: node01
      nameserver: {url: "https://head.example.org"}
    bait:
      host: node01
      nameserver: {url: "https://head.example.org"}
      slurm: {node: node01}
    reference_time: "{{ now().timestamp() }}"
"""

RETURN = r"""
findings:
  description: What the checks found, failures first.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: Name of the check.
      type: str
      sample: slurm.prolog_flags
    outcome:
      description: What came of it, V(failure), V(warning), V(skipped) or V(ok).
      type: str
      sample: failure
    object:
      description: What it is about.
      type: str
      sample: PrologFlags
    value:
      description: What was seen.
      type: str
      sample: ""
    reason:
      description: Why that is no good.
      type: str
      sample: "prologs would run at a job's first step: too late to stop it"
    hint:
      description: The cure.
      type: str
      sample: set PrologFlags=Alloc in slurm.conf, and run `scontrol reconfigure`
"""

from typing import Any, Dict, List, Optional, Type, TypeVar

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.bait.config import BaitConfig
from ansible_collections.wnodes.farm.plugins.module_utils.doctor.catalogue import CHECKS, worst_first
from ansible_collections.wnodes.farm.plugins.module_utils.doctor.check import HEAD, NODE, CheckOutcome, Wanted, examine
from ansible_collections.wnodes.farm.plugins.module_utils.doctor.machine import Machine
from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor.config import HypervisorConfig
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import decode, encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import ConfigError
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver.config import NameserverConfig

T = TypeVar("T")


def backend() -> Machine:
    """Return this machine."""
    return Machine()


def wanted(options: Dict[str, Any]) -> Wanted:
    """Return what the machine shall be; a configuration that can't be used is one of the findings."""
    broken: List[ConfigError] = []

    def read(cls: Type[T], key: str) -> Optional[T]:
        try:
            return None if options[key] is None else decode(cls, options[key], key)
        except ConfigError as error:
            broken.append(error)
            return None

    return Wanted(
        options["role"],
        running=False,
        hypervisor=read(HypervisorConfig, "hypervisor"),
        bait=read(BaitConfig, "bait"),
        nameserver=read(NameserverConfig, "nameserver"),
        uplink=options["uplink"],
        now=options["reference_time"],
        broken=tuple(broken),
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True, "choices": [HEAD, NODE]},
            "hypervisor": {"type": "dict"},
            "bait": {"type": "dict"},
            "nameserver": {"type": "dict"},
            "uplink": {"type": "str", "default": ""},
            "reference_time": {"type": "float"},
        },
        supports_check_mode=True,
    )
    machine = backend()
    findings = worst_first(examine(CHECKS, machine, wanted(module.params)))
    for finding in findings:
        if finding.outcome is CheckOutcome.WARNING:
            module.warn(f"{finding.check}: {finding}")
    failures = [f"{finding.check}: {finding}" for finding in findings if finding.outcome is CheckOutcome.FAILURE]
    if failures:
        text = "\n".join(f"- {failure}" for failure in failures)
        module.fail_json(
            msg=f"does not meet the requirements of role {module.params['role']}:\n{text}", findings=encode(findings)
        )
    module.exit_json(changed=False, findings=encode(findings))


if __name__ == "__main__":
    main()
