# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The whole path, from an empty machine to a job on its own VM. Needs root.
.PHONY: demo record-demo lab-site

demo: bootstrap  ## lab site, image, three jobs: from nothing to DEMO OK
	@$(PY) tools/demo

record-demo: bootstrap  ## run the demo, and write what it printed to docs/demo.svg and docs/demo.txt
	@$(PY) tools/record-demo

lab-site: bootstrap  ## the lab with the collection rolled out and the worker image published; quick when unchanged
	@$(PY) tools/demo --site-only
