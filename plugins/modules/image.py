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
  - The difference between image and wish is computed first. Check mode, diff and the work itself all use it.
  - A step that fails leaves the image as it was.
  - Optionally looks for what must not be handed out and publishes the image with kernel and initrd under its digest.
  - "Order of work: O(packages); then O(files), O(edits), O(kernel_modules), O(remote_syslog), O(ssh_keys), O(units);
    then O(commands); then O(delete)."
author:
  - The wnodes.farm contributors (@wnodes-farm)
extends_documentation_fragment:
  - wnodes.farm.attributes
attributes:
  check_mode:
    support: full
    details:
      - While packages are missing, what depends on their files is left out of the prediction.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A command of O(commands) without C(creates) runs every time.
  platform:
    support: full
    platforms: linux
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
      - O(path) appears only when all work on it has succeeded.
    type: path
  files:
    description: Files that shall be in the image. Missing folders above them are made, owned by root with mode 0755.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the image.
        type: str
        required: true
      content:
        description: The file's content. Either this or O(files[].source).
        type: str
      source:
        description: A file on the machine this module runs on, whose content is taken.
        type: path
      mode:
        description: Permissions in octal.
        type: str
        default: "0644"
      owner:
        description: User as the image knows it, or a number.
        type: str
        default: root
      group:
        description: Group as the image knows it, or a number.
        type: str
        default: root
  edits:
    description: Changes inside text files of the image. An edit that would change its file on every run is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path in the image, of a file that exists. Links are followed.
        type: str
        required: true
      regexp:
        description: Python regular expression.
        type: str
        required: true
      line:
        description: Replaces the last line in which O(edits[].regexp) is found; is appended where there is none.
        type: str
      replacement:
        description: Replaces every match of O(edits[].regexp); V(^) and V($) match at lines, back references work.
        type: str
  commands:
    description: Commands that are run inside the image, in order.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: Program and arguments. Either this or O(commands[].shell).
        type: list
        elements: str
        default: []
      shell:
        description: Text for the image's shell.
        type: str
      creates:
        description: Absolute path in the image. Where it exists the command is not run.
        type: str
  packages:
    description: Packages to install with the image's own package manager. Missing ones need O(network).
    type: list
    elements: str
    default: []
  kernel_modules:
    description: Kernel modules of the image.
    type: dict
    suboptions:
      load:
        description: Loaded at boot.
        type: list
        elements: str
        default: []
      blacklist:
        description: Not loaded by alias.
        type: list
        elements: str
        default: []
      options:
        description: Options by module name.
        type: dict
        default: {}
  remote_syslog:
    description: Where the image sends its system log, through rsyslog where the image has it, else from the journal.
    type: dict
    suboptions:
      host:
        description: Host name or address.
        type: str
        required: true
      port:
        description: Port.
        type: int
        default: 514
      protocol:
        description: Transport protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
  ssh_keys:
    description: Public keys that may log in.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: A user in the image's C(/etc/passwd).
        type: str
        required: true
      keys:
        description: Lines for C(authorized_keys).
        type: list
        elements: str
        required: true
      exclusive:
        description: Whether other keys of the user are removed.
        type: bool
        default: false
  units:
    description: States of systemd units, full names.
    type: dict
    suboptions:
      enable:
        description: Started at boot.
        type: list
        elements: str
        default: []
      disable:
        description: Not started at boot.
        type: list
        elements: str
        default: []
      mask:
        description: Not startable at all.
        type: list
        elements: str
        default: []
  delete:
    description: Absolute paths that shall not be in the image, folders with all that is in them.
    type: list
    elements: str
    default: []
  network:
    description: Whether the appliance reaches the network.
    type: bool
    default: false
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
      - An image that holds passwords, private keys, a machine id or a random seed is refused.
    type: path
  tags:
    description: Tags of the published image, C(<name>_<os>_<arch>).
    type: list
    elements: str
    default: []
  cmdline:
    description: Kernel command line of the published image.
    type: str
    default: console=ttyS0 root=/dev/vda rw
  root_device:
    description: The root device as the guest names it.
    type: str
    default: /dev/vda
"""

EXAMPLES = r"""
- name: A worker node's image made from a plain one, published under a tag
  wnodes.farm.image:
    base: /var/lib/wnodes/bases/debian12.qcow2
    path: /var/lib/wnodes/build/worker.qcow2
    packages: [chrony]
    network: true
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
    path:
      description: The image's folder.
      type: str
    manifest:
      description: Content of C(manifest.json) in that folder.
      type: dict
error:
  description: What is wrong, in parts.
  returned: failure
  type: dict
  contains:
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

import dataclasses
import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.image.accel import decide
from ansible_collections.wnodes.farm.plugins.module_utils.image.build import Build
from ansible_collections.wnodes.farm.plugins.module_utils.image.customise import Engine
from ansible_collections.wnodes.farm.plugins.module_utils.image.operations import Recipe
from ansible_collections.wnodes.farm.plugins.module_utils.image.publish import Target
from ansible_collections.wnodes.farm.plugins.module_utils.model.codec import decode, encode
from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.virt.accel import KVM, AccelProbe

_RECIPE = [field.name for field in dataclasses.fields(Recipe)]


def _strings(**more: Any) -> Dict[str, Any]:
    return dict(type="list", elements="str", **more)


def _dicts(options: Dict[str, Any], **more: Any) -> Dict[str, Any]:
    return dict(type="list", elements="dict", default=[], options=options, **more)


ARGUMENT_SPEC: Dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "format": {"choices": ["qcow2", "raw"], "default": "qcow2"},
    "base": {"type": "path"},
    "files": _dicts(
        {
            "path": {"required": True},
            "content": {},
            "source": {"type": "path"},
            "mode": {"default": "0644"},
            "owner": {"default": "root"},
            "group": {"default": "root"},
        },
        mutually_exclusive=[("content", "source")],
        required_one_of=[("content", "source")],
    ),
    "edits": _dicts(
        {"path": {"required": True}, "regexp": {"required": True}, "line": {}, "replacement": {}},
        mutually_exclusive=[("line", "replacement")],
        required_one_of=[("line", "replacement")],
    ),
    "commands": _dicts({"argv": _strings(default=[]), "shell": {}, "creates": {}}),
    "packages": _strings(default=[]),
    "kernel_modules": {
        "type": "dict",
        "options": {
            "load": _strings(default=[]),
            "blacklist": _strings(default=[]),
            "options": {"type": "dict", "default": {}},
        },
    },
    "remote_syslog": {
        "type": "dict",
        "options": {
            "host": {"required": True},
            "port": {"type": "int", "default": 514},
            "protocol": {"choices": ["tcp", "udp"], "default": "tcp"},
        },
    },
    "ssh_keys": _dicts(
        {
            "user": {"required": True},
            "keys": _strings(required=True, no_log=False),
            "exclusive": {"type": "bool", "default": False},
        },
        no_log=False,
    ),
    "units": {
        "type": "dict",
        "options": {"enable": _strings(default=[]), "disable": _strings(default=[]), "mask": _strings(default=[])},
    },
    "delete": _strings(default=[]),
    "network": {"type": "bool", "default": False},
    "accel": {"choices": ["auto", "kvm", "tcg"], "default": "auto"},
    "publish_to": {"type": "path"},
    "tags": _strings(default=[]),
    "cmdline": {"default": "console=ttyS0 root=/dev/vda rw"},
    "root_device": {"default": "/dev/vda"},
}


def _given(value: Any) -> Any:
    """Drop what was not given: the dataclasses have the same defaults."""
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value


def run(module: AnsibleModule, engine: Engine) -> Dict[str, Any]:
    """Return the module's result; raise WnodesError."""
    params = module.params
    recipe = decode(Recipe, _given({key: params[key] for key in _RECIPE}), "image")
    target = None
    if params["publish_to"]:
        target = Target(params["publish_to"], tuple(params["tags"]), params["cmdline"], params["root_device"])
    outcome = Build(engine, params["path"], params["format"], params["base"], recipe, target).run(
        check=module.check_mode
    )
    result: Dict[str, Any] = {"changed": outcome.changed, "actions": outcome.actions}
    if module._diff:
        result["diff"] = outcome.difference.diff()
    if outcome.published:
        result["published"] = {"path": outcome.published.path, "manifest": encode(outcome.published.manifest)}
    return result


def engine(accel: str, folder: str) -> Engine:
    """Return the real engine; what the probe finds is remembered in ``folder``."""
    probe = AccelProbe(os.path.join(folder, ".wnodes-accel.json"))
    return Engine(accel=decide(accel, lambda kernel, digest: probe.probe(kernel, digest).name == KVM))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module, engine(module.params["accel"], os.path.dirname(module.params["path"])))
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
