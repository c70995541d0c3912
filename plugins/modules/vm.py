#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm
short_description: Create or remove a virtual machine on a node
version_added: 0.1.0
description:
  - Asks the node's hypervisor service for a virtual machine, or to take one away. The service leases its host name and
    address, starts it from an image and makes it ready; what it gets can't be changed later.
  - A virtual machine is thrown away with all that was written in it.
options:
  id:
    description:
      - Request id, 1 to 64 of C(A-Z a-z 0-9 . _ -). Asking twice with one id makes one virtual machine.
      - An id is used once. After its virtual machine has gone, ask with another one.
    type: str
    required: true
  state:
    description: Whether the virtual machine must exist.
    type: str
    choices: [absent, present]
    default: present
  tag:
    description: Image tag. Required with O(state=present).
    type: str
  owner:
    description: Who it is for. Besides root only the user of this name sees it; nothing else rests on it.
    type: str
    default: root
  cpus:
    description: Number of virtual CPUs.
    type: int
    default: 1
  memory_mib:
    description: Memory for the payload in MiB; what the guest itself needs comes on top.
    type: int
    default: 1024
  scratch_mib:
    description: Size of a scratch disk at C(/scratch) in MiB; none with V(0).
    type: int
    default: 0
  mounts:
    description: Folders of the node that the virtual machine sees. The node's configuration limits them.
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: Folder on the node.
        type: path
        required: true
      target:
        description: Where it is in the virtual machine.
        type: path
        required: true
      readonly:
        description: Mounted read-only in the virtual machine. Its root could change that.
        type: bool
        default: false
  wait:
    description: Wait until the virtual machine is ready, or gone.
    type: bool
    default: true
  timeout:
    description: How long to wait, in seconds.
    type: int
    default: 300
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.hypervisor
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
seealso:
  - module: wnodes.farm.vm_info
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Have a worker node with two CPUs and a scratch disk
  wnodes.farm.vm:
    id: trial-1
    tag: worker_debian12_x86_64
    cpus: 2
    memory_mib: 2048
    scratch_mib: 10240
    mounts:
      - source: /home
        target: /home
  register: result

- name: Tell where it is
  ansible.builtin.debug:
    msg: "{{ result.vm.lease.name }} at {{ result.vm.lease.address }}"

- name: Take it away
  wnodes.farm.vm:
    id: trial-1
    state: absent
"""

RETURN = r"""
vm:
  description: The virtual machine as the hypervisor knows it; empty in check mode and where there is none.
  returned: success
  type: dict
  contains:
    request:
      description: What was asked for, with C(id), C(owner), C(tag), C(resources), C(mounts), C(groups) and C(labels).
      type: dict
    state:
      description: Where it is on its way.
      type: str
      sample: READY
    lease:
      description: Host name, MAC, address and network of the virtual machine, and until when they are leased.
      type: dict
      sample: {name: vwn-100, address: 192.0.2.100}
    image:
      description: The image it was started from.
      type: dict
    uuid:
      description: UUID of its domain; empty while there is none.
      type: str
    path:
      description: How it came up, V(restore) from a template or V(cold), by booting; empty while not known yet.
      type: str
      sample: restore
    accel:
      description: V(kvm), or V(qemu) without hardware virtualisation.
      type: str
      sample: kvm
    history:
      description: States and when they were entered, in seconds since the epoch.
      type: list
      elements: dict
    reason:
      description: Why it is broken, or what it waits for.
      type: str
      sample: ""
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: RequestError, object: VM request trial-1, value: other, reason: no image has this tag, hint: ""}
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor import desired_state
from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor.api import HypervisorApi
from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor.client import ACCESS_SPEC, HypervisorClient
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.model.resources import Resources
from ansible_collections.wnodes.farm.plugins.module_utils.model.vm import Mount, VmRequest


def backend(socket: str) -> HypervisorApi:
    """Return the node's hypervisor."""
    return HypervisorClient.local(socket)


def run(module: AnsibleModule, api: HypervisorApi) -> Dict[str, Any]:
    """Return the module's result; raise WnodesError."""
    given = module.params
    present = given["state"] == "present"
    wanted = VmRequest(
        id=given["id"],
        owner=given["owner"],
        tag=given["tag"] or "",
        resources=Resources(given["cpus"], given["memory_mib"], given["scratch_mib"]),
        mounts=tuple(Mount(**mount) for mount in given["mounts"]),
    )
    difference = desired_state.difference(api, wanted.id, wanted if present else None)
    if not module.check_mode:
        desired_state.apply(api, wanted.id, difference)
        if given["wait"]:
            desired_state.wait(api, wanted.id, present, float(given["timeout"]))
    found = desired_state.find(api, wanted.id)
    return {
        "changed": difference.changed,
        "diff": difference.as_diff(),
        "vm": encode(found) if found is not None else {},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "tag": {"type": "str"},
            "owner": {"type": "str", "default": "root"},
            "cpus": {"type": "int", "default": 1},
            "memory_mib": {"type": "int", "default": 1024},
            "scratch_mib": {"type": "int", "default": 0},
            "mounts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "source": {"type": "path", "required": True},
                    "target": {"type": "path", "required": True},
                    "readonly": {"type": "bool", "default": False},
                },
            },
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 300},
            **ACCESS_SPEC,
        },
        required_if=[("state", "present", ["tag"])],
        supports_check_mode=True,
    )
    try:
        result = run(module, backend(module.params["socket"]))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
