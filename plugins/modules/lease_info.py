#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lease_info
short_description: Read the leased host names of the site
version_added: 0.1.0
description:
  - Runs on the nameserver's machine, as root.
  - Returns the leases that have not run out, each a host name with its MAC and address, held for one virtual machine.
options:
  owner:
    description: Return the leases of this hypervisor alone; none of this name gives an empty list.
    type: str
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.attributes.info_module
  - wnodes.farm.nameserver
seealso:
  - module: wnodes.farm.node_info
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Read the leases
  wnodes.farm.lease_info:
  register: result

- name: Tell which node an address belongs to
  ansible.builtin.debug:
    msg: "{{ (result.leases | selectattr('address', 'eq', '192.0.2.100') | first).owner }}"
"""

RETURN = r"""
leases:
  description: The leases, by host name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Host name, also the virtual machine's.
      type: str
      sample: vwn-100
    mac:
      description: MAC of the virtual machine.
      type: str
      sample: 52:54:00:00:00:64
    address:
      description: Its address.
      type: str
      sample: 192.0.2.100
    network:
      description: What a guest needs to use the address, with C(prefix), C(gateway), C(dns) and C(domain).
      type: dict
    holder:
      description: Request id of the virtual machine.
      type: str
    owner:
      description: The hypervisor that renews the lease.
      type: str
      sample: hv1
    epoch:
      description: Rises with each new holder of the name.
      type: int
    expires:
      description: When it runs out unless it is renewed, in seconds since the epoch.
      type: float
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: UnavailableError, object: nameserver, value: "", reason: does not answer, hint: ""}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.directory.base import Directory
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver.client import ACCESS_SPEC, NameserverClient


def backend(socket: str) -> Directory:
    """Return the site's directory."""
    return NameserverClient.local(socket)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "owner": {"type": "str"},
            **ACCESS_SPEC,
        },
        supports_check_mode=True,
    )
    wanted = module.params["owner"]
    try:
        leases = [lease for lease in backend(module.params["socket"]).leases() if wanted in (None, lease.owner)]
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(changed=False, leases=encode(sorted(leases, key=lambda lease: lease.name)))


if __name__ == "__main__":
    main()
