# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration; tools/docs calls it."""

from __future__ import annotations

from typing import Any

from docutils import nodes

project = "wnodes.farm"
project_copyright = "2026, the wnodes.farm contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
html_title = "wnodes.farm"
html_copy_source = False
myst_enable_extensions = ["tasklist"]
myst_heading_anchors = 4

#: pages of Ansible's own documentation to which antsibull-docs refers by label
ANSIBLE = {
    "common_return_values": "reference_appendices/common_return_values.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
}


def to_ansible(_app: Any, _env: Any, wanted: Any, text: nodes.Element) -> nodes.reference | None:
    """Return the link for a label that is Ansible's: asking its site what labels it has would need the network."""
    page = ANSIBLE.get(wanted["reftarget"])
    return nodes.reference("", "", text, refuri=f"https://docs.ansible.com/ansible/latest/{page}") if page else None


def setup(app: Any) -> None:
    app.connect("missing-reference", to_ansible)
