#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_tag_info
short_description: Read the image tags of the site, and their state on each node
version_added: 0.1.0
description:
  - Runs on the nameserver's machine.
  - Returns what the tags point to, what they pointed to before, and which hypervisors have the images ready.
options:
  tag:
    description: Return this tag alone; none of this name gives an empty list.
    type: str
  history:
    description: Return also what each tag pointed to before.
    type: bool
    default: false
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.attributes.info_module
  - wnodes.farm.nameserver
seealso:
  - module: wnodes.farm.image_tag
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Read the tags
  wnodes.farm.image_tag_info:
  register: result

- name: Name the hypervisors that can start the worker image at once
  ansible.builtin.debug:
    msg: "{{ result.tags[0].nodes | dict2items | selectattr('value.state', 'eq', 'ready') | map(attribute='key') }}"
"""

RETURN = r"""
tags:
  description: The tags, by name.
  returned: success
  type: list
  elements: dict
  contains:
    tag:
      description: The tag.
      type: str
    digest:
      description: The image's SHA-256.
      type: str
    version:
      description: Rises with every release.
      type: int
    location:
      description: Where the image's files are.
      type: str
    signed:
      description: Whether it has a signature. Hypervisors look whether that is a good one.
      type: bool
    updated:
      description: Since when the tag points to it, in seconds since the epoch.
      type: float
    created:
      description: When it was stated, in seconds since the epoch.
      type: int
    expires:
      description: When the image ceases to boot, in seconds since the epoch; V(0) for never.
      type: int
    tags:
      description: All tags it was signed for.
      type: list
      elements: str
    allowed:
      description: Who may use it, with C(users), C(groups) and C(vos); everybody where all are empty.
      type: dict
    properties:
      description: Texts about it for people.
      type: dict
    format:
      description: Format of its disk.
      type: str
      sample: qcow2
    virtual_size:
      description: Size of the disk that the guest sees, in bytes.
      type: int
    size:
      description: Size of the disk's file, in bytes.
      type: int
    disk:
      description: The disk's file, with C(path) and C(digest); the kernel's and the initial RAM disk's likewise.
      type: dict
    kernel:
      description: The kernel's file.
      type: dict
    initrd:
      description: The initial RAM disk's file.
      type: dict
    root_device:
      description: The root device as the guest names it.
      type: str
      sample: /dev/vda
    cmdline:
      description: Kernel command line.
      type: str
    rollout:
      description: Another release that some hypervisors use already, with their names in C(hosts).
      type: dict
    nodes:
      description: By hypervisor, how it has the tag, with C(state) (V(ready), V(waiting), V(refused) or V(failed)).
      type: dict
    history:
      description: What the tag pointed to, newest first.
      type: list
      elements: dict
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: UnavailableError, object: nameserver, value: "", reason: does not answer, hint: ""}
"""

from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.directory.base import Directory
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver import catalogue
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver.client import ACCESS_SPEC, NameserverClient


def backend(socket: str) -> Directory:
    """Return the site's directory."""
    return NameserverClient.local(socket)


def run(module: AnsibleModule, directory: Directory) -> List[Dict[str, Any]]:
    """Return the tags; raise WnodesError."""
    found = []
    nodes = catalogue.on_nodes(directory.heartbeats())
    for entry in directory.tags():
        if module.params["tag"] in (None, entry.tag):
            there = {host: tags[entry.tag] for host, tags in nodes.items() if entry.tag in tags}
            found.append({**catalogue.described(entry), "nodes": there})
            if module.params["history"]:
                found[-1]["history"] = [catalogue.described(old) for old in directory.history(entry.tag)]
    return found


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "tag": {"type": "str"},
            "history": {"type": "bool", "default": False},
            **ACCESS_SPEC,
        },
        supports_check_mode=True,
    )
    try:
        tags = run(module, backend(module.params["socket"]))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(changed=False, tags=tags)


if __name__ == "__main__":
    main()
