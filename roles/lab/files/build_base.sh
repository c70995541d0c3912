#!/bin/sh
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# usage: build_base.sh TARGET SUITE PACKAGE[,PACKAGE…] [HOOK]
# Builds a Debian tree in the directory TARGET from the mirrors this machine itself uses, whatever release of Debian it
# is. HOOK, a program, is given the tree when its packages are installed. All or nothing.
set -eu

target=$1 suite=$2 packages=$3 hook=${4:-}
partial=$target.partial
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Mirrors, proxies and checks are those of this machine, in whatever files and formats it has them.
apt-config dump Acquire >"$scratch/apt.conf"
# shellcheck disable=SC2016 # $(…) is apt's syntax here
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' 'Origin: Debian' |
    sed -En "s/^deb ([^ ]+) [a-z]+(-updates|-security)? /deb \\1 $suite\\2 /p" | sort -u >"$scratch/sources.list"
[ -s "$scratch/sources.list" ] || {
    echo "build_base.sh: apt on this machine has no Debian (try apt-get update)" >&2
    exit 1
}

rm -rf "$partial"
mmdebstrap --variant=minbase --format=directory --aptopt="$scratch/apt.conf" --include="$packages" \
    ${hook:+"--customize-hook=$hook"} "$suite" "$partial" - <"$scratch/sources.list"
mv "$partial" "$target"
