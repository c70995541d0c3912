#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_sign
short_description: Sign a published image anew
version_added: 0.1.0
description:
  - States anew what is published, with a version above all that was stated of its tags before.
  - So an older image comes back, which hypervisors refuse otherwise, or an image gets other tags or a later end.
  - Runs on the image builder, where the signer's key is. Point tags with M(wnodes.farm.image_tag) afterwards.
options:
  path:
    description: Folder of the published image.
    type: path
    required: true
  tags:
    description: All tags of the image, C(<name>_<os>_<arch>).
    type: list
    elements: str
    required: true
  valid_days:
    description: Days until the image boots nowhere any more; V(0) for never.
    type: int
    default: 0
  sign_key:
    description: The signer's private key.
    type: path
    required: true
  sign_certificate:
    description: The signer's certificate.
    type: path
    required: true
extends_documentation_fragment:
  - wnodes.farm.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details: Every run makes a new version.
  platform:
    support: full
requirements:
  - openssl
seealso:
  - module: wnodes.farm.image
  - module: wnodes.farm.image_tag
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Let an older image come back
  wnodes.farm.image_sign:
    path: /shared/images/0123456789abcdef
    tags: [worker_debian12_x86_64]
    valid_days: 180
    sign_key: /etc/wnodes/signer/signer.key
    sign_certificate: /etc/wnodes/signer/signer.crt
"""

RETURN = r"""
published:
  description: Where the image is, and what is said of it now.
  returned: success, outside check mode
  type: dict
  contains:
    path:
      description: The image's folder.
      type: str
    manifest:
      description: Content of C(manifest.json) in that folder.
      type: dict
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  sample: {error: ImageError, object: signature, value: "", reason: wrong key, hint: ""}
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.image.manifest import read_release
from ansible_collections.wnodes.farm.plugins.module_utils.image.publish import Target, republish
from ansible_collections.wnodes.farm.plugins.module_utils.image.signature import Signer
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError


def run(module: AnsibleModule, signer: Signer) -> Dict[str, Any]:
    """Return the module's result; raise WnodesError."""
    given = module.params
    before = read_release(given["path"]).claims()
    target = Target(
        os.path.dirname(os.path.realpath(given["path"])),
        tuple(given["tags"]),
        before.cmdline,
        valid_days=given["valid_days"],
        allowed=before.allowed,
        signer=signer,
    )
    if module.check_mode:
        return {"changed": True}
    done = republish(given["path"], target)
    return {"changed": True, "published": {"path": done.path, "manifest": encode(done.manifest)}}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "tags": {"type": "list", "elements": "str", "required": True},
            "valid_days": {"type": "int", "default": 0},
            "sign_key": {"type": "path", "required": True, "no_log": False},
            "sign_certificate": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module, Signer(module.params["sign_key"], module.params["sign_certificate"]))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
