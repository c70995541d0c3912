# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe as options of a module: one for each field of ``Recipe``, documented in the doc fragment ``recipe``."""

from __future__ import annotations

from typing import Any, Dict


def _strings(**more: Any) -> Dict[str, Any]:
    return dict(type="list", elements="str", **more)


def _dicts(options: Dict[str, Any], **more: Any) -> Dict[str, Any]:
    return dict(type="list", elements="dict", default=[], options=options, **more)


_SYSTEM: Dict[str, Any] = {"type": "bool", "default": False}

RECIPE_SPEC: Dict[str, Any] = {
    "groups": _dicts({"name": {"required": True}, "gid": {"type": "int"}, "system": _SYSTEM}),
    "users": _dicts(
        {
            "name": {"required": True},
            "uid": {"type": "int"},
            "group": {},
            "groups": _strings(default=[]),
            "home": {},
            "shell": {},
            "system": _SYSTEM,
            "comment": {},
        }
    ),
    "timezone": {},
    "dns": {"type": "dict", "options": {"servers": _strings(required=True), "search": _strings(default=[])}},
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
    "scripts": _dicts({"name": {"required": True}, "content": {"required": True}}),
    "commands": _dicts({"argv": _strings(default=[]), "shell": {}, "creates": {}}),
    "packages": _strings(default=[]),
    "packages_absent": _strings(default=[]),
    "upgrade": {"type": "bool", "default": False},
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
}
