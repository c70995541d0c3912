#!/bin/sh
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# usage: make_node.sh TREE
# Takes from a tree what must differ between machines (keys, identity), and any service that lacks its configuration.
set -eu

tree=$1
chroot "$tree" systemctl --quiet disable munge slurmctld slurmd
chroot "$tree" systemctl --quiet enable systemd-networkd
chroot "$tree" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer console-getty
rm -f "$tree"/etc/munge/munge.key "$tree"/etc/ssh/ssh_host_*
: >"$tree/etc/resolv.conf"
