#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Read the state of the site's nodes, their jobs and virtual machines
version_added: 0.1.0
description:
  - Runs on the nameserver's machine, as root. Other users see their own jobs alone.
  - Returns what the services of each node last told the nameserver. A node that hangs delays nothing; it is
    reported as down after three missed heartbeats.
options:
  name:
    description: Return this node alone; none of this name gives an empty list.
    type: str
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.attributes.info_module
  - wnodes.farm.nameserver
seealso:
  - module: wnodes.farm.vm_info
  - module: wnodes.farm.lease_info
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Read the state of the nodes
  wnodes.farm.node_info:
  register: site

- name: Fail if a node has a problem
  ansible.builtin.assert:
    that: site.problems | length == 0
    fail_msg: "{{ site.problems | join('; ') }}"

- name: Wait until no virtual job is under way on a node
  wnodes.farm.node_info:
    name: hv1
  register: node
  until: node.nodes[0].jobs | length == 0
  retries: 60
  delay: 10
"""

RETURN = r"""
problems:
  description: All that is wrong on the nodes returned, with node and service before each.
  returned: success
  type: list
  elements: str
  sample: ["hv1: bait: hypervisor: does not answer"]
nodes:
  description: The nodes, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
      sample: hv1
    ok:
      description: Whether none of its services has a problem.
      type: bool
    problems:
      description: What is wrong, one sentence each, with the service before it.
      type: list
      elements: str
    services:
      description:
        - By name (C(bait), C(hypervisor)), with C(state) (V(OK), V(PROBLEM) or V(DOWN)), C(age_s), the seconds since it
          was heard of, and what else it tells of itself.
      type: dict
      sample: {bait: {state: OK, age_s: 1.2, tags: [worker_debian12_x86_64]}}
    jobs:
      description: Virtual jobs that are not over, oldest first. Jobs on the bare node are not among them.
      type: list
      elements: dict
    vms:
      description: Virtual machines that have not gone, those that wait for jobs included; see M(wnodes.farm.vm).
      type: list
      elements: dict
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: UnavailableError, object: nameserver, value: "", reason: does not answer, hint: ""}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver import services
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver.client import ACCESS_SPEC, NameserverClient


def backend(socket: str) -> NameserverClient:
    """Return the site's nameserver."""
    return NameserverClient.local(socket)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            **ACCESS_SPEC,
        },
        supports_check_mode=True,
    )
    wanted = module.params["name"]
    try:
        nodes = [node for node in services.nodes(backend(module.params["socket"])) if wanted in (None, node["name"])]
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    problems = [f"{node['name']}: {problem}" for node in nodes for problem in node["problems"]]
    module.exit_json(changed=False, nodes=nodes, problems=problems)


if __name__ == "__main__":
    main()
