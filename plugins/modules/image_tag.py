#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_tag
short_description: Point image tags of the site to a published image, or retire them
version_added: 0.1.0
description:
  - Runs on the nameserver's machine, as root.
  - The image's signature is checked first. What no hypervisor would boot is not published.
  - All tags of one task switch together or not at all. What they pointed to stays in their history.
  - Virtual machines that run are left alone; new ones get the new image.
options:
  path:
    description: Folder of the published image, at a place where all hypervisors find it too.
    type: path
  tags:
    description: Tags, C(<name>_<os>_<arch>). Without them those of the image's manifest.
    type: list
    elements: str
    default: []
  hosts:
    description:
      - Names of the hypervisors that use the image already, while the others go on with what the tags point to.
        An empty list ends that.
      - Without this option all hypervisors use it.
    type: list
    elements: str
  state:
    description: Whether the tags point to the image, or are retired.
    type: str
    choices: [absent, present]
    default: present
  authority:
    description: File of the certificate authority of those who may sign images.
    type: path
    default: /etc/wnodes/pki/ca.crt
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.nameserver
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    support: full
requirements:
  - openssl
seealso:
  - module: wnodes.farm.image
  - module: wnodes.farm.image_tag_info
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Point the image's tags to it
  wnodes.farm.image_tag:
    path: /shared/images/worker_debian12_x86_64

- name: Let one hypervisor use it first
  wnodes.farm.image_tag:
    path: /shared/images/worker_debian12_x86_64
    hosts: [hv1]

- name: Take a tag away
  wnodes.farm.image_tag:
    tags: [old_debian11_x86_64]
    state: absent
"""

RETURN = r"""
tags:
  description: The tags that changed (in check mode, would), as they are now. A retired one is empty.
  returned: success
  type: list
  elements: dict
  sample: [{tag: worker_debian12_x86_64, version: 20261121120000}]
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: ImageError, object: image, value: "", reason: is not signed, hint: ""}
"""

import json
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.directory.base import Directory
from ansible_collections.wnodes.farm.plugins.module_utils.image.signature import Keyring
from ansible_collections.wnodes.farm.plugins.module_utils.image.trust import Verifier
from ansible_collections.wnodes.farm.plugins.module_utils.model.clock import Clock
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver import catalogue
from ansible_collections.wnodes.farm.plugins.module_utils.nameserver.client import ACCESS_SPEC, NameserverClient


def backend(socket: str) -> Directory:
    """Return the site's directory."""
    return NameserverClient.local(socket)


def verifier(authority: str) -> Verifier:
    """Return who tells whether a signature is good."""
    return Keyring(authority, clock=Clock())


def run(module: AnsibleModule, directory: Directory) -> Dict[str, Any]:
    """Return the module's result; raise WnodesError."""
    given = module.params
    tags = tuple(given["tags"])
    if given["state"] == "absent":
        desired = catalogue.DesiredTags(tags, None)
    else:
        hosts = None if given["hosts"] is None else tuple(given["hosts"])
        desired = catalogue.desired_tags(given["path"], tags, hosts, verifier(given["authority"]))
    todo = catalogue.changes(directory, desired)
    if not module.check_mode:
        catalogue.apply(directory, desired, todo)
    return {
        "changed": bool(todo),
        "tags": [catalogue.described(change.after) for change in todo],
        "diff": [
            {
                "before_header": change.tag,
                "after_header": change.tag,
                "before": _shown(catalogue.described(change.before)),
                "after": _shown(catalogue.described(change.after)),
            }
            for change in todo
        ],
    }


def _shown(described: Dict[str, Any]) -> str:
    return json.dumps(described, indent=2, sort_keys=True) + "\n" if described else ""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "tags": {"type": "list", "elements": "str", "default": []},
            "hosts": {"type": "list", "elements": "str"},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "authority": {"type": "path", "default": catalogue.AUTHORITY},
            **ACCESS_SPEC,
        },
        required_if=[("state", "present", ["path"]), ("state", "absent", ["tags"])],
        supports_check_mode=True,
    )
    try:
        result = run(module, backend(module.params["socket"]))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
