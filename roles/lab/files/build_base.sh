#!/bin/sh
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# usage: build_base.sh TARGET SUITE PACKAGE[,PACKAGE…]
# Builds a Debian tree in the directory TARGET from the mirrors this machine itself uses. All or nothing.
set -eu

target=$1 suite=$2 packages=$3
partial=$target.partial
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Mirrors, proxies and checks are those of this machine, in whatever files and formats it has them.
apt-config dump Acquire >"$scratch/apt.conf"
# shellcheck disable=SC2016 # $(…) is apt's syntax here
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 'Origin: Debian' |
    grep -E "^deb [^ ]+ $suite(-updates|-security)? " >"$scratch/sources.list" || {
    echo "build_base.sh: apt on this machine has no Debian $suite (try apt-get update)" >&2
    exit 1
}

rm -rf "$partial"
# In the tree: nothing that must differ between machines (keys, identity), no service that lacks its configuration.
# shellcheck disable=SC2016 # $1 is the hook's own
mmdebstrap --variant=minbase --format=directory --aptopt="$scratch/apt.conf" --include="$packages" \
    --customize-hook='chroot "$1" systemctl --quiet disable munge slurmctld slurmd' \
    --customize-hook='chroot "$1" systemctl --quiet enable systemd-networkd' \
    --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer console-getty' \
    --customize-hook='rm -f "$1"/etc/munge/munge.key "$1"/etc/ssh/ssh_host_*' \
    --customize-hook=': >"$1/etc/resolv.conf"' \
    "$suite" "$partial" - <"$scratch/sources.list"
mv "$partial" "$target"
