# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The lab: a site of three systemd-nspawn machines on this one. Needs root.
COLLECTIONS := $(VENV)/collections
LAB_PLAYBOOK := ANSIBLE_COLLECTIONS_PATH=$(COLLECTIONS) ANSIBLE_HOME=$(CURDIR)/.ansible \
	ansible-playbook
# Which lab: lab (Debian 12), lab-debian13.
LAB ?= lab
export WNODES_LAB := $(LAB)
# What the user adds, for example LAB_ARGS='-e purge=true'.
LAB_ARGS ?=
NODE ?= head
CMD ?=

.PHONY: lab-up lab-down lab-sh

lab-up: bootstrap  ## build and start the lab site; quick when it is up
	@$(LAB_PLAYBOOK) -i playbooks/inventory/$(LAB).yml playbooks/lab_up.yml $(LAB_ARGS)

lab-down: bootstrap  ## stop and remove every lab; LAB_ARGS='-e purge=true' drops the caches too
	@for lab in playbooks/inventory/lab*.yml; do \
		$(LAB_PLAYBOOK) -i $$lab playbooks/lab_down.yml $(LAB_ARGS) || exit 1; done

# $(value …): a dollar sign in CMD is the remote shell's business, not make's.
lab-sh: override export CMD := $(value CMD)
lab-sh: export NODE := $(NODE)
lab-sh:  ## run a command on a machine of the lab: make lab-sh NODE=head CMD='squeue'
	@tools/lab-sh
