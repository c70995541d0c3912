#!/bin/sh
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# usage: unshare --mount --propagation=private boot_machine.sh NAME BASE_TREE MACHINE_DIR NSPAWN_ARGUMENT…
# Runs systemd-nspawn on an overlay of BASE_TREE. All mounts are the private namespace's: they go when it ends.
set -eu

name=$1 base=$2 dir=$3
shift 3

# cgroup2 on top, so that hosts which mix version 1 and 2 look alike to systemd; and a group of the machine's own, so
# that it does not belong to the session it was started from and can be killed as a whole.
[ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/wnlab/$name
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"

if ! mount -t overlay "$name" -o "lowerdir=$dir/layer:$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"; then
    echo "boot_machine.sh: no overlay file system under $dir, copying $base instead" >&2
    [ -e "$dir/root/usr" ] || cp -a --reflink=auto "$base/." "$dir/root"
    cp -a "$dir/layer/." "$dir/root"
fi

# With --keep-unit a reboot inside makes systemd-nspawn end with 133, for its service manager to start it again: us.
stopping=
while :; do
    setpriv --pdeathsig KILL systemd-nspawn --directory="$dir/root" "$@" &
    child=$!
    trap 'stopping=yes; kill -TERM "$child"' TERM
    status=0
    wait "$child" || status=$?
    if [ -n "$stopping" ]; then
        wait "$child" || : # the signal ended the first one early
        exit 0
    fi
    [ "$status" -eq 133 ] || exit "$status"
done
