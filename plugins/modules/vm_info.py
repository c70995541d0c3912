#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_info
short_description: Read the virtual machines of a node
version_added: 0.1.0
description:
  - Returns what the node's hypervisor service knows of its virtual machines, and whether it can make new ones.
options:
  id:
    description: Return this virtual machine alone; none of this id gives an empty list.
    type: str
  gone:
    description: Return those too that have gone.
    type: bool
    default: false
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.attributes.info_module
  - wnodes.farm.hypervisor
seealso:
  - module: wnodes.farm.vm
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Read the virtual machines of this node
  wnodes.farm.vm_info:
  register: result

- name: Name those that are in use
  ansible.builtin.debug:
    msg: "{{ result.vms | selectattr('state', 'eq', 'IN_USE') | map(attribute='lease.name') }}"
"""

RETURN = r"""
vms:
  description: The virtual machines, oldest first; see M(wnodes.farm.vm) for what each has.
  returned: success
  type: list
  elements: dict
status:
  description: Whether virtual machines can be had here now.
  returned: success
  type: dict
  contains:
    ok:
      description: Whether everything answers that a new virtual machine needs.
      type: bool
    problems:
      description: What is wrong, one sentence each.
      type: list
      elements: str
    tags:
      description: Image tags that this node can serve.
      type: list
      elements: str
    accel:
      description: V(kvm), or V(qemu) without hardware virtualisation; empty while not known yet.
      type: str
    images:
      description:
        - Each tag as the node has it, with C(tag), C(digest), C(version), C(state) (V(ready), V(waiting), V(refused) or
          V(failed)), C(reason) and C(progress).
      type: list
      elements: dict
    templates:
      description: What virtual machines are restored from, with C(count), C(bytes) and what is C(building).
      type: dict
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: UnavailableError, object: hypervisor, value: "", reason: does not answer, hint: ""}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor.api import HypervisorApi
from ansible_collections.wnodes.farm.plugins.module_utils.hypervisor.client import ACCESS_SPEC, HypervisorClient
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.model.states import VmState


def backend(socket: str) -> HypervisorApi:
    """Return the node's hypervisor."""
    return HypervisorClient.local(socket)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str"},
            "gone": {"type": "bool", "default": False},
            **ACCESS_SPEC,
        },
        supports_check_mode=True,
    )
    wanted, gone = module.params["id"], module.params["gone"]
    try:
        api = backend(module.params["socket"])
        vms = [vm for vm in api.list() if wanted in (None, vm.id) and (gone or vm.state is not VmState.GONE)]
        status = api.status()
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(changed=False, vms=encode(vms), status=encode(status))


if __name__ == "__main__":
    main()
