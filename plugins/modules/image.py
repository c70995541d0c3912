#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Customise a virtual machine's image and publish it
version_added: 0.1.0
description:
  - Brings the content of a disk image to a wanted state with libguestfs, in one launch of its appliance.
  - The difference between the image and its recipe is computed first. Check mode, diff and the work itself all use it.
  - A step that fails leaves the image as it was.
  - Optionally looks for what must not be handed out and publishes the image with kernel and initrd under its digest.
  - "Order of work: O(packages_absent), O(upgrade), O(packages); then O(groups), O(users), O(timezone), O(dns),
    O(files), O(edits), O(kernel_modules), O(remote_syslog), O(ssh_keys), O(units); then O(scripts); then O(commands);
    then O(delete)."
  - Indexes and downloads of package managers go to a scratch drive, so a small update changes little of the image file.
author:
  - The wnodes.farm contributors (@wnodes)
extends_documentation_fragment:
  - wnodes.farm.attributes
  - wnodes.farm.recipe
attributes:
  check_mode:
    support: full
    details:
      - While packages are to be handled, what depends on their files is left out of the prediction.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A command of O(commands) without C(creates) runs every time.
  platform:
    support: full
seealso:
  - module: wnodes.farm.image_sign
  - module: wnodes.farm.image_tag
requirements:
  - python3-guestfs (the distribution's bindings, for the distribution's own Python)
  - qemu-img
options:
  path:
    description: The image file.
    type: path
    required: true
  format:
    description: The image's format. It is never guessed, and the file's header must agree.
    type: str
    choices: [qcow2, raw]
    default: qcow2
  base:
    description:
      - An image of the same O(format) that is copied to O(path) where O(path) does not exist yet.
      - A path, or a URL (http, https), which needs O(base_checksum). What a broken download left is gone on with.
      - O(path) appears only when all work on it has succeeded.
    type: str
  base_checksum:
    description: SHA-256 of O(base).
    type: str
    default: ""
  accel:
    description:
      - What the appliance runs on. V(tcg) works everywhere.
      - V(auto) takes KVM where a guest kernel really boots with it. That is tried once after each boot of the machine
        and remembered in C(.wnodes-accel.json) beside O(path).
    type: str
    choices: [auto, kvm, tcg]
    default: auto
  publish_to:
    description:
      - Folder in which the image is published as C(<digest>/), with kernel, initrd and manifest, and one link per tag.
      - An image that holds passwords, private keys, tokens, a machine id, a random seed, instance data of cloud-init,
        DHCP leases or shell histories is refused, and so is one that lets keys in as root that the recipe does not
        name.
    type: path
  tags:
    description: Tags of the published image, C(<name>_<os>_<arch>).
    type: list
    elements: str
    default: []
  cmdline:
    description: Kernel command line of the published image. Without C(root=) it gets the one of O(root_device).
    type: str
    default: console=ttyS0 rw
  root_device:
    description:
      - The root device as the guest names it, such as V(/dev/vda1). It is found where it is not given.
      - A partition that does not hold the root file system is refused, here and in O(cmdline).
    type: str
    default: ""
  valid_days:
    description:
      - Days after which the published image boots nowhere any more; V(0) for never.
      - It is signed anew when a third of that time is left.
    type: int
    default: 0
  allowed:
    description: Who may use the published image; one match is enough. Everybody, where nothing is listed.
    type: dict
    suboptions:
      users:
        description: User names.
        type: list
        elements: str
        default: []
      groups:
        description: Unix groups.
        type: list
        elements: str
        default: []
      vos:
        description: Virtual organisations.
        type: list
        elements: str
        default: []
  properties:
    description: Texts about the published image for people. C(os) and C(kernel) are read from the image.
    type: dict
    default: {}
  sign_key:
    description: Private key that signs what is published. What is not signed boots nowhere.
    type: path
  sign_certificate:
    description: The key's certificate, from the site's authority for those who may sign images.
    type: path
  progress:
    description: File that gets a line for each step that takes long, with size, speed and time left of transfers.
    type: path
"""

EXAMPLES = r"""
- name: A worker node's image made from a plain one, published under a tag
  wnodes.farm.image:
    base: /var/lib/wnodes/bases/debian12.qcow2
    path: /var/lib/wnodes/build/worker.qcow2
    packages: [chrony]
    packages_absent: [telnet]
    upgrade: true
    network: true
    groups:
      - name: atlas
        gid: 5000
    users:
      - name: atlas001
        uid: 5001
        group: atlas
    timezone: Europe/Rome
    dns:
      servers: [192.0.2.53]
      search: [example.org]
    scripts:
      - name: trust-anchors
        content: |
          #!/bin/sh
          install -d /etc/grid-security/certificates
    files:
      - path: /etc/motd
        content: "A worker node\n"
    edits:
      - path: /etc/nsswitch.conf
        regexp: '^hosts:'
        line: 'hosts: files dns'
    units:
      disable: [slurmd.service]
      mask: [apt-daily.timer]
    delete: [/etc/machine-id]
    publish_to: /shared/images
    tags: [worker_debian12_x86_64]

- name: Where the images of this site send their logs
  wnodes.farm.image:
    path: /var/lib/wnodes/build/worker.qcow2
    remote_syslog:
      host: logs.example.org
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, one line each, in order.
  returned: success
  type: list
  elements: str
  sample: ["install chrony", "write /etc/motd"]
published:
  description: Where the image is published. In check mode only where the image itself needs no change.
  returned: with O(publish_to)
  type: dict
  contains:
    changed:
      description: Whether that is news.
      type: bool
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
  contains:
    error:
      description: Kind of the error.
      type: str
      sample: ImageError
    object:
      description: What it is about.
      type: str
    value:
      description: The value that was seen.
      type: str
    reason:
      description: Why that can't be.
      type: str
    hint:
      description: What can be done about it.
      type: str
"""

import os
import time
from typing import Any, Callable, Dict, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.image.build import Build
from ansible_collections.wnodes.farm.plugins.module_utils.image.progress import silent
from ansible_collections.wnodes.farm.plugins.module_utils.image.publish import Target
from ansible_collections.wnodes.farm.plugins.module_utils.image.recipe.accel import decide
from ansible_collections.wnodes.farm.plugins.module_utils.image.recipe.engine import Engine
from ansible_collections.wnodes.farm.plugins.module_utils.image.recipe.operations import Recipe
from ansible_collections.wnodes.farm.plugins.module_utils.image.recipe.spec import RECIPE_SPEC
from ansible_collections.wnodes.farm.plugins.module_utils.image.signature import Signer
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import decode, encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.model.image import Allowed
from ansible_collections.wnodes.farm.plugins.module_utils.virt.accel import KVM, AccelProbe

ARGUMENT_SPEC: Dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "format": {"choices": ["qcow2", "raw"], "default": "qcow2"},
    "base": {},
    "base_checksum": {"default": ""},
    **RECIPE_SPEC,
    "accel": {"choices": ["auto", "kvm", "tcg"], "default": "auto"},
    "publish_to": {"type": "path"},
    "tags": {"type": "list", "elements": "str", "default": []},
    "cmdline": {"default": "console=ttyS0 rw"},
    "root_device": {"default": ""},
    "valid_days": {"type": "int", "default": 0},
    "allowed": {
        "type": "dict",
        "options": {name: {"type": "list", "elements": "str", "default": []} for name in ("users", "groups", "vos")},
    },
    "properties": {"type": "dict", "default": {}},
    "sign_key": {"type": "path", "no_log": False},
    "sign_certificate": {"type": "path"},
    "progress": {"type": "path"},
}


def _given(value: Any) -> Any:
    """Drop what was not given: the dataclasses have the same defaults."""
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


def run(module: AnsibleModule, engine: Engine) -> Dict[str, Any]:
    """Return the module's result; raise WnodesError."""
    params = module.params
    recipe = decode(Recipe, _given({key: params[key] for key in RECIPE_SPEC}), "image")
    build = Build(
        engine,
        params["path"],
        params["format"],
        params["base"],
        recipe,
        _target(params) if params["publish_to"] else None,
        params["base_checksum"].replace("sha256:", ""),
        _reporter(params["progress"]),
    )
    outcome = build.run(check=module.check_mode)
    result: Dict[str, Any] = {"changed": outcome.changed, "actions": outcome.actions}
    if module._diff:
        result["diff"] = outcome.difference.diff()
    if outcome.published:
        result["published"] = encode(outcome.published)
    return result


def _target(params: Dict[str, Any]) -> Target:
    return Target(
        params["publish_to"],
        tuple(params["tags"]),
        params["cmdline"],
        params["root_device"],
        params["valid_days"],
        decode(Allowed, _given(params["allowed"] or {}), "allowed"),
        {name: str(value) for name, value in params["properties"].items()},
        Signer(params["sign_key"], params["sign_certificate"]) if params["sign_key"] else None,
    )


def _reporter(path: Optional[str]) -> Callable[[str], None]:
    """Return what writes each line into the file ``path``, with the seconds since the start."""
    if not path:
        return silent
    start = time.monotonic()
    with open(path, "w", encoding="utf-8"):
        pass

    def say(line: str) -> None:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(f"{time.monotonic() - start:.1f} s  {line}\n")

    return say


def engine(accel: str, folder: str) -> Engine:
    """Return the real engine; what the probe finds is remembered in ``folder``."""
    probe = AccelProbe(os.path.join(folder, ".wnodes-accel.json"))
    return Engine(accel=decide(accel, lambda kernel, digest: probe.probe(kernel, digest).name == KVM))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_together=[("sign_key", "sign_certificate")],
        supports_check_mode=True,
    )
    try:
        result = run(module, engine(module.params["accel"], os.path.dirname(module.params["path"])))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
