# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # The recipe of an image; its specification is RECIPE_SPEC of module_utils/image/recipe/spec.py.
    DOCUMENTATION = r"""
options:
  groups:
    description: Groups that shall be in the image.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      gid:
        description: Number. Where it is not given a new group gets the one that C(groupadd) would choose.
        type: int
      system:
        description: Whether that is chosen from the range of system groups.
        type: bool
        default: false
  users:
    description:
      - Users that shall be in the image. They have no password; their accounts are locked for logging in with one.
      - What is not given stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      uid:
        description:
          - Number. Where it is not given a new user gets the one that C(useradd) would choose.
          - If a user's number changes, files that belong to the old number stay so.
        type: int
      group:
        description: Primary group, name or number. A new user gets one of the same name.
        type: str
      groups:
        description: Further groups the user is put into. The user stays in other groups.
        type: list
        elements: str
        default: []
      home:
        description:
          - Home, made empty with mode 0700 where it is missing.
          - A new user gets C(/home/<name>), a new system user C(/nonexistent), which is not made.
        type: str
      shell:
        description: Shell. A new user gets bash, or sh where there is no bash; a new system user C(nologin).
        type: str
      system:
        description: Whether the numbers are chosen from the range of the system.
        type: bool
        default: false
      comment:
        description: The comment field, usually the full name.
        type: str
  timezone:
    description: Time zone by its IANA name, which the image's C(/usr/share/zoneinfo) must know.
    type: str
  dns:
    description:
      - Name servers, written to C(/etc/resolv.conf).
      - Where that is systemd-resolved's link it stays, and systemd-resolved is told.
    type: dict
    suboptions:
      servers:
        description: IP addresses.
        type: list
        elements: str
        required: true
      search:
        description: Domains in which short names are looked up.
        type: list
        elements: str
        default: []
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
  scripts:
    description:
      - Scripts of the site, run inside the image in order.
      - Each runs once for each content; the image remembers its digest in C(/var/lib/wnodes/scripts/).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, under which the image remembers it.
        type: str
        required: true
      content:
        description: The script. It starts with C(#!/).
        type: str
        required: true
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
  packages_absent:
    description: Packages to remove with their configuration. What needs them is removed with them.
    type: list
    elements: str
    default: []
  upgrade:
    description:
      - Whether all installed packages are brought to the newest versions their sources have. Needs O(network).
      - A package that could only be upgraded by removing another one stays.
    type: bool
    default: false
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
"""
