#!/usr/bin/python
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bridge
short_description: Manage the bridge over a node's uplink
version_added: 0.1.0
description:
  - Makes a bridge that takes over addresses, routes, DNS servers and MAC of the node's uplink, so that
    virtual machines on this node share its network. The uplink becomes a port of the bridge.
  - The configuration is kept by C(systemd-networkd) in files of its own, C(05-wnodes-*) in C(/etc/systemd/network).
    The site's own files stay as they are, and come back into force when the bridge is removed.
  - Connections over the uplink survive. If the bridge does not have its addresses in time, what was there before is
    brought back, and the module fails.
  - A bridge of that name with that uplink which the site has made in its own way is left alone.
options:
  name:
    description: Name of the bridge, at most 15 characters.
    type: str
    default: br.default
  uplink:
    description: The device over which the node is reached, for example V(eth0). Its address must not come from DHCP.
    type: str
    required: true
  state:
    description:
      - With V(present) the bridge stands before the uplink.
      - With V(absent) the uplink speaks for itself again. Fails while virtual machines are on the bridge.
    type: str
    choices: [absent, present]
    default: present
  timeout:
    description: How long the network may take to come up, and as long again to come back on failure, in seconds.
    type: int
    default: 30
requirements:
  - iproute2
  - systemd-networkd 249 or later
extends_documentation_fragment:
  - wnodes.farm.attributes
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
  - module: wnodes.farm.vm
author:
  - The wnodes.farm contributors (@wnodes)
"""

EXAMPLES = r"""
- name: Put the node's default bridge before its first network card
  wnodes.farm.bridge:
    uplink: eth0

- name: Take it away again
  wnodes.farm.bridge:
    uplink: eth0
    state: absent
"""

RETURN = r"""
bridge:
  description: The bridge as it is now, or would be.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the bridge.
      type: str
      sample: br.default
    uplink:
      description: Name of the uplink.
      type: str
      sample: eth0
    addresses:
      description: Addresses of the bridge or, where it is absent, of the uplink; with prefix length.
      type: list
      elements: str
      sample: [192.0.2.10/24]
actions:
  description: What was wrong with the devices and files, one line each.
  returned: success
  type: list
  elements: str
  sample: ["br.default: no such device"]
error:
  description: What went wrong, in parts that a program can read.
  returned: failure
  type: dict
  contains:
    error:
      description: Kind of the error.
      type: str
      sample: NetworkError
    object:
      description: What it is about.
      type: str
      sample: uplink eth9
    value:
      description: The value that was seen.
      type: str
      sample: ""
    reason:
      description: Why that can't be.
      type: str
      sample: no such device
    hint:
      description: What can be done about it.
      type: str
      sample: this node has eth0
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wnodes.farm.plugins.module_utils.model.errors import WnodesError
from ansible_collections.wnodes.farm.plugins.module_utils.net.base import Network
from ansible_collections.wnodes.farm.plugins.module_utils.net.linux_bridge import LinuxBridge


def backend(timeout: int) -> Network:
    """Return the backend that makes bridges on this node."""
    return LinuxBridge(limit_s=float(timeout))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "br.default"},
            "uplink": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    given = module.params
    network = backend(given["timeout"])
    try:
        difference = network.bridge_difference(given["name"], given["uplink"], given["state"] == "present")
        if not module.check_mode:
            network.apply(difference)
    except WnodesError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    module.exit_json(
        changed=difference.changed,
        diff=difference.as_diff(),
        actions=[f"{path}: changed" for path in sorted(difference.files)] + list(difference.live),
        bridge={
            "name": difference.bridge,
            "uplink": difference.uplink,
            "addresses": list(difference.addressing.addresses),
        },
    )


if __name__ == "__main__":
    main()
