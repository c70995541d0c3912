# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How a module reaches the nameserver; its specification is ACCESS_SPEC of module_utils/nameserver/client.py.
    DOCUMENTATION = r"""
options:
  socket:
    description: Unix socket of the nameserver.
    type: path
    default: /run/wnodes/nameserver.sock
"""
