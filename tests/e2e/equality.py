# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's script can see, as words and values, and in what a VM may differ from a node."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

#: May be the same in two jobs on nodes by chance only.
CHANGING = ("scontrol RunTime",)

#: What may differ on a VM: key (a shell pattern), and what its value there has to match. docs/user.md has the reasons.
ALLOWED = {
    "/scratch": r"1777 root directory|missing",
    "/tmp file system": r".+",
    "cgroup": r".+",
    "command *": r"there|missing",
    "env SLURM_CONF": r"/\S+/slurm\.conf",
    "env SLURM_NODE_ALIASES": r"(vwn-\d+):\[[0-9.]+\]:\1",
    "file system of *": r".+",
    "kernel": r"[0-9]\S+",
    "limit NPROC": r"[0-9]+ [0-9]+",
    "limit SIGPENDING": r"[0-9]+ [0-9]+",
    "memory": r"[0-9]+",
    "nproc": r"[0-9]+",
    "operating system": r"\S.*",
    "scontrol AdminComment": r"wnodes:.*",
    "scontrol Features": r"vm_\S+",
    "scontrol Partition": r"wnvm",
    "scontrol Reservation": r"wn_vwn-\S+",
    "scontrol Restarts": r"[1-9][0-9]*",
    "scontrol Scheduler": r"Main|Backfill",
}

#: Prints `key<TAB>value` lines. The environment comes first, as the script found it.
PROBE = r"""#!/bin/sh
env | while IFS= read -r line; do
    case $line in [A-Za-z_]*=*) printf 'env %s\t%s\n' "${line%%=*}" "${line#*=}" ;; esac
done
say() { printf '%s\t%s\n' "$1" "$(printf %s "$2" | tr '\n\t' '  ')"; }
whether() { if "$@" > /dev/null 2>&1; then echo there; else echo missing; fi; }

say id "$(id)"
say umask "$(umask)"
say 'working directory' "$(pwd)"
say nice "$(nice)"
say oom "$(cat /proc/self/oom_score_adj)"
prlimit --pid $$ --noheadings --raw --output RESOURCE,SOFT,HARD | while read -r name soft hard; do
    say "limit $name" "$soft $hard"
done
while read -r name mask; do
    case $name in SigBlk: | SigIgn:) say "signals $name" "$mask" ;; esac
done < /proc/$$/status
say stdin "$(readlink /proc/$$/fd/0)"
say stdout "$(stat -L -c '%F %a %U' /proc/$$/fd/1)"
say stderr "$(stat -L -c '%F %a %U' /proc/$$/fd/2)"

say locale "$(locale 2>&1)"
say 'time zone' "$(date +%Z)"
say /etc/timezone "$(cat /etc/timezone 2>&1)"
say /etc/localtime "$(readlink -f /etc/localtime)"

for name in alice bob; do
    say "passwd $name" "$(getent passwd "$name")"
    say "group $name" "$(getent group "$name")"
done
say 'owner of /home/bob' "$(stat -c '%U %G' /home/bob)"
for name in head hv1 hv2 localhost; do
    say "hosts $name" "$(getent ahostsv4 "$name" | sed -n '1s/ .*//p')"
done
say 'own name resolves' "$(whether getent hosts "$(hostname)")"
say 'own full name' "$(whether hostname -f)"

say nproc "$(nproc)"
say memory "$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))"
say kernel "$(uname -r)"
say machine "$(uname -m)"
say 'operating system' "$(. /etc/os-release; echo "$PRETTY_NAME")"
say cgroup "$(cat /proc/self/cgroup)"
for folder in /tmp /var/tmp /dev/shm /scratch; do
    say "$folder" "$(stat -c '%a %U %F' "$folder" 2> /dev/null || echo missing)"
done
say '/tmp file system' "$(stat -f -c %T /tmp)"
say 'file system of the home' "$(stat -f -c %T "$HOME")"
say 'home can be written' "$(whether test -w "$HOME")"

for name in srun sbatch salloc squeue scontrol sinfo scancel sacct sbcast sattach sstat sprio; do
    say "slurm $name" "$(whether command -v "$name")"
done
for name in sh bash awk sed grep find tar gzip ps getent perl python3 xz bzip2 zip less ping ssh rsync curl git file; do
    say "command $name" "$(whether command -v "$name")"
done
say 'srun in the job' "$(srun -n 1 sh -c 'echo ran in "${SLURM_JOB_PARTITION-none}"' 2>&1)"
say 'srun restart' "$(srun -n 1 sh -c 'echo "${SLURM_RESTART_COUNT-none} ${SLURM_JOB_RESERVATION-none}"' 2>&1)"
say 'sbatch like this job' "$(sbatch --test-only -p "$SLURM_JOB_PARTITION" --wrap true > /dev/null 2>&1; echo $?)"
for word in $(scontrol -o show job "$SLURM_JOB_ID" 2>&1 | tr '*()' '#<>'); do
    case $word in [A-Z]*=*) say "scontrol ${word%%=*}" "${word#*=}" ;; esac
done
"""


def seen(output: str) -> dict[str, str]:
    """Return key → value of what the probe has written."""
    found = dict(line.split("\t", 1) for line in output.splitlines() if "\t" in line)
    # from 32 on they are the C library's own; the runtime of the lab's machines ignores one
    masks = {key: f"{int(value, 16) & 0x7FFFFFFF:x}" for key, value in found.items() if key.startswith("signals ")}
    return {**found, **masks}


def differences(nodes: list[dict[str, str]], vm: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return key → (on the first node, on the VM) of what is the same on all nodes and not on the VM.

    What differs from one node, or one job, to the next is nothing that a script can count on.
    """
    first = nodes[0]
    keys = {key for one in (*nodes, vm) for key in one}
    same = [key for key in sorted(keys) if len({one.get(key) for one in nodes}) == 1 and key not in CHANGING]
    return {key: (first.get(key, ""), vm.get(key, "")) for key in same if first.get(key) != vm.get(key)}


def not_allowed(found: dict[str, tuple[str, str]]) -> list[str]:
    """Return a line for each difference that the table does not have, or has with other values."""
    lines = []
    for key, (node, vm) in found.items():
        patterns = [value for name, value in ALLOWED.items() if fnmatchcase(key, name)]
        if not any(re.fullmatch(pattern, vm) for pattern in patterns):
            lines.append(f"{key}: {node!r} on a node, {vm!r} on a VM")
    return lines
