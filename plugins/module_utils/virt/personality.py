# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running guest becomes *this* VM: name, address, identity, file systems, and what it has as its node has it.

All is set and read back in one trip. Its clock is set by what does not age on the way: the machine's own clock, which
QEMU keeps at the node's time, in a guest that was restored, too.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple

from ..load import Stretch, stretch
from ..model.errors import VirtError
from ..model.vm import Vm
from .guest import CALL_S, GuestAgent, assignments, escaped
from .policy import SCRATCH, filesystem_tag
from .surroundings import NOWHERE, Surroundings

log = logging.getLogger(__name__)

#: seconds the guest's clock may be off: beyond the first it is set right, beyond the second the guest is of no use, as
#: the batch system would not believe what it says (munge takes 300 s)
CLOCK_TOLERANCE_S = 0.5
CLOCK_LIMIT_S = 30.0
#: how often what was plugged in is looked for, 0.05 s apart, on a node that is not busy
LOOKS = 100
SCRATCH_MOUNT = "/scratch"


@dataclass(frozen=True)
class Personality:
    """What a guest is told to be.

    :param machine_id: 32 hex digits
    :param seed: hex digits for the kernel's random pool, fresh from the host
    :param mounts: virtiofs tag, target, ``ro`` or ``rw``
    :param scratch: serial of the scratch disk, empty where there is none
    :param search: domains in which names are looked up
    :param options: of its resolver
    :param hosts: lines of its /etc/hosts beside its own
    :param zone: name of its time zone; empty: its image's
    :param zone_data: rules of the time zone, for an image that does not know it; each character a byte
    :param locale: settings of its locale, ``LANG=…`` first
    :param clone: the guest was restored from memory: its random pool must be reseeded, not only stirred
    """

    hostname: str
    mac: str
    address: str
    prefix: int
    gateway: str
    dns: Tuple[str, ...]
    domain: str
    machine_id: str
    seed: str
    mounts: Tuple[Tuple[str, str, str], ...]
    scratch: str
    search: Tuple[str, ...] = ()
    options: Tuple[str, ...] = ()
    hosts: Tuple[str, ...] = ()
    zone: str = ""
    zone_data: str = ""
    locale: Tuple[str, ...] = ()
    clone: bool = False


def personality(vm: Vm, clone: bool = False, node: Surroundings = NOWHERE) -> Personality:
    """Return what ``vm`` (which has its lease) has to become, with a fresh machine id and seed.

    :param node: what it has as its node has it; the site's own servers and domain come first
    """
    lease = vm.lease
    if lease is None:
        raise VirtError(object=f"VM {vm.id}", reason="has no lease to be personalised with")
    mounts = ((filesystem_tag(i), m.target, "ro" if m.readonly else "rw") for i, m in enumerate(vm.request.mounts))
    return Personality(
        hostname=lease.name,
        mac=lease.mac,
        address=lease.address,
        prefix=lease.network.prefix,
        gateway=lease.network.gateway,
        dns=lease.network.dns or node.resolver.servers,
        domain=lease.network.domain,
        machine_id=uuid.uuid4().hex,
        seed=os.urandom(64).hex(),
        mounts=tuple(sorted(mounts, key=lambda mount: mount[1])),  # what is mounted below another comes after it
        scratch=SCRATCH if vm.request.resources.scratch_mib else "",
        search=tuple(dict.fromkeys(filter(None, (lease.network.domain, *node.resolver.search)))),
        options=node.resolver.options,
        hosts=tuple(line for line in node.hosts if line.split()[0] != lease.address),
        zone=node.zone,
        zone_data=node.zone_data,
        locale=node.locale,
        clone=clone,
    )


#: The part that a template does for all its clones: shell functions, of which ``mount_scratch`` may be called again.
SCRATCH_SCRIPT = r"""
# sets $holder to the name of the directory above that file of those given which holds just $1
holder_of() {
    wanted=$1 holder=
    shift
    for file in "$@"; do
        read -r held < "$file" || [ -n "$held" ] || continue
        if [ "$held" = "$wanted" ]; then
            file=${file%/*}
            holder=${file##*/}
            return
        fi
    done
}

is_mounted() {
    while read -r _ mounted _; do
        if [ "$mounted" = "$1" ]; then return 0; fi
    done < /proc/self/mounts
    return 1
}

mount_scratch() {
    if is_mounted /scratch; then return; fi
    [ -d /scratch ] || mkdir /scratch
    holder_of "$1" /sys/block/vd*/serial
    # nobody needs tables of inodes written that are never used
    mount -t ext4 -o noatime,nosuid,nodev,discard,noinit_itable "/dev/$holder" /scratch
    mkdir -p /scratch/tmp
    chmod 1777 /scratch /scratch/tmp
    mount --bind /scratch/tmp /tmp
}
"""

# Runs under any POSIX shell with iproute2, mount and coreutils. What fails is found by reading back, at the end.
# Files are read by the shell itself and `ip` does all in one go: without hardware virtualisation a process costs 50 ms,
# and so does a subshell.
_SCRIPT = r"""
exec 3>&1 1>&2

seed_pool() {
    # RNDADDTOENTCOUNT is not enough: clones went on with equal numbers until RNDRESEEDCRNG (0x5207)
    if command -v perl > /dev/null; then
        perl -e 'open F, "+>", "/dev/urandom" or die; syswrite F, pack("H*", $ARGV[0]); ioctl(F, 0x5207, 0) or die' "$1"
    elif command -v python3 > /dev/null; then
        python3 -c 'import fcntl, sys; f = open("/dev/urandom", "r+b", 0)
f.write(bytes.fromhex(sys.argv[1])); fcntl.ioctl(f, 0x5207, 0)' "$1"
    else
        return 1
    fi
}

# of two moments that have passed, when this was sent and the last full second of the machine's own clock, the later one
set_clock() {
    moment=$1
    if [ -r "$rtc" ] && read -r second < "$rtc" && [ "$second" -gt "${1%.*}" ]; then moment=$second; fi
    off=2 # a clone's has stood still: it is never right
    if [ -z "$clone" ]; then
        clock=$(date +%s)
        off=$((clock - ${moment%.*}))
    fi
    if [ "$off" -gt 1 ] || [ "$off" -lt -1 ]; then clock=$(date -u -s "@$moment" +%s); fi
}

# what was plugged in a moment ago is not seen at once
await() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ "$tries" -gt "$looks" ]; then return 1; fi
        sleep 0.05
    done
}

# a card has its final name when udev has written down that it knows it
has_nic() {
    holder_of "$mac" /sys/class/net/*/address
    nic=$holder
    [ -n "$nic" ] && read -r index < "/sys/class/net/$nic/ifindex" &&
        { [ ! -d /run/udev/data ] || [ -e "/run/udev/data/n$index" ]; } && [ -e "/sys/class/net/$nic" ]
}

has_filesystems() {
    count=0
    while read -r _; do count=$((count + 1)); done <<END
$mounts
END
    set -- /sys/bus/virtio/drivers/virtiofs/virtio*
    [ -e "$1" ] && [ $# -ge "$count" ]
}

name_host() {
    echo "$hostname" > /etc/hostname
    echo "$hostname" > /proc/sys/kernel/hostname
    others=
    if [ -s /etc/hosts ]; then
        while read -r line; do
            case $line in
                127.*|::1*|"$address"[[:space:]]*) ;;
                *) others="$others$line
" ;;
            esac
        done < /etc/hosts
    fi
    {
        echo "127.0.0.1 localhost"
        echo "::1 localhost ip6-localhost ip6-loopback"
        echo "$address ${domain:+$hostname.$domain }$hostname"
        printf %s "$others"
        if [ -n "$hosts" ]; then echo "$hosts"; fi
    } > /etc/hosts
    if is_mounted /etc/machine-id; then umount /etc/machine-id; fi
    echo "$machine_id" > /etc/machine-id
}

set_zone() {
    if [ -z "$zone" ] || [ "/usr/share/zoneinfo/$zone" -ef /etc/localtime ]; then return; fi
    if [ -e "/usr/share/zoneinfo/$zone" ]; then
        ln -sfn "/usr/share/zoneinfo/$zone" /etc/localtime
    else
        if [ -h /etc/localtime ]; then rm /etc/localtime; fi
        # it is a format
        # shellcheck disable=SC2059
        printf "$zone_data" > /etc/localtime
    fi
    echo "$zone" > /etc/timezone
}

# a language that the image does not have would be an error in each program
set_locale() {
    name=${locale#LANG=}
    name=${name%%
*}
    case $name in
        "$locale" | "") return ;;
        C | C.* | POSIX) ;;
        *)
            short=${name%%.*}.utf8
            case " $(echo $(locale -a)) " in
                *" $name "* | *" $short "*) ;;
                *) return ;;
            esac
            ;;
    esac
    if [ -d /etc/default ]; then echo "$locale" > /etc/default/locale; fi
    if [ -e /etc/locale.conf ]; then echo "$locale" > /etc/locale.conf; fi
}

set_address() {
    addresses=$(ip -4 -o -force -batch - <<END
link set dev lo up
link set dev $nic up
address flush dev $nic
address add $address/$prefix dev $nic
${gateway:+route replace default via $gateway dev $nic onlink}
address show dev $nic
END
)
    if [ -n "$dns" ]; then
        if [ -h /etc/resolv.conf ]; then rm /etc/resolv.conf; fi
        {
            if [ -n "$search" ]; then echo "search $search"; fi
            for server in $dns; do echo "nameserver $server"; done
            if [ -n "$options" ]; then echo "options $options"; fi
        } > /etc/resolv.conf
    fi
}

mount_all() {
    if [ -n "$mounts" ]; then await has_filesystems; fi
    while read -r tag target mode; do
        if [ -n "$tag" ] && ! is_mounted "$target"; then
            [ -d "$target" ] || mkdir -p "$target"
            mount -t virtiofs -o "$mode,nosuid,nodev" "$tag" "$target"
        fi
    done <<END
$mounts
END
}

make_host_keys() {
    if [ -x /usr/sbin/sshd ]; then
        rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
        ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
    fi
}

become() {
    # a fresh boot has its own randomness and is only stirred; a clone has its template's
    set_clock "$now"
    seeded=stirred
    if [ -z "$clone" ]; then echo "$seed" > /dev/urandom; elif seed_pool "$seed"; then seeded=yes; else seeded=no; fi
    name_host
    set_zone
    set_locale
    if [ -n "$scratch" ]; then mount_scratch "$scratch"; fi
    make_host_keys
    mount_all
    await has_nic
    if [ -n "$nic" ]; then set_address; fi

    exec 1>&3 3>&-
    echo "seeded=$seeded"
    read -r line < /proc/sys/kernel/hostname && echo "hostname=$line"
    read -r line < /etc/machine-id && echo "machine_id=$line"
    while read -r _ _ _ found _; do
        if [ -n "$found" ]; then echo "address=$found"; fi
    done <<END
$addresses
END
    if [ -n "$gateway" ]; then
        while read -r _ destination found _; do
            if [ "$destination" = 00000000 ]; then echo "gateway=$found"; fi
        done < /proc/net/route
    fi
    while read -r device target type options _; do
        case $type:$target in
            virtiofs:*) echo "mount=$device $target ${options%%,*}" ;;
            ext4:/scratch) echo "mount=$scratch $target ${options%%,*}" ;;
        esac
    done < /proc/self/mounts
    if [ -x /usr/sbin/sshd ] && [ ! -s /etc/ssh/ssh_host_ed25519_key ]; then echo "host_keys=missing"; fi
    echo "clock=$clock"
}

# the shell reads on from where it got this: nothing else may
become < /dev/null
"""


# The machine's clock is right to the moment for a program that waits for its next second. Where there is none, or it
# is wrong, or the machine is so busy that the program comes late, the clock is moved by what it was seen to be off.
_RIGHT_CLOCK = r"""
if [ -r "$rtc" ] && hwclock --utc --hctosys; then exit; fi
clock=$(($(date +%s%3N) + by))
date -u -s "@$((clock / 1000)).$(printf %03d $((clock % 1000)))"
"""
RTC = "/sys/class/rtc/rtc0/since_epoch"


def script(wanted: Personality, now: float, looks: int = LOOKS) -> str:
    """Return the script that makes a guest ``wanted`` and prints ``key=value`` lines of what it then is.

    :param looks: how often it looks for what was plugged in
    """
    values = {
        "now": f"{now:.3f}",
        "rtc": RTC,
        "looks": str(looks),
        "hostname": wanted.hostname,
        "mac": wanted.mac,
        "address": wanted.address,
        "prefix": str(wanted.prefix),
        "gateway": wanted.gateway,
        "dns": " ".join(wanted.dns),
        "domain": wanted.domain,
        "machine_id": wanted.machine_id,
        "seed": wanted.seed,
        "mounts": "\n".join(" ".join(mount) for mount in wanted.mounts),
        "scratch": wanted.scratch,
        "search": " ".join(wanted.search),
        "options": " ".join(wanted.options),
        "hosts": "\n".join(wanted.hosts),
        "zone": wanted.zone,
        "zone_data": escaped(wanted.zone_data, "latin-1"),
        "locale": "\n".join(wanted.locale),
        "clone": "yes" if wanted.clone else "",
    }
    return assignments(values) + SCRATCH_SCRIPT + _SCRIPT


def read_back(text: str) -> Dict[str, List[str]]:
    """Return the values of each key in ``key=value`` lines, in order; other lines are passed over."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def _as_the_kernel_writes(address: str) -> str:
    """Return an IPv4 address as in /proc/net/route: hex digits in the byte order of x86, the last octet first."""
    return ipaddress.IPv4Address(address).packed[::-1].hex().upper()


def differences(wanted: Personality, found: Dict[str, List[str]], sent: float, received: float) -> Tuple[str, ...]:
    """Return in what a guest is not as it should be, one sentence each.

    :param sent: when the script was sent, host's seconds since the epoch
    :param received: when its answer was there
    """
    expected = {
        "hostname": [wanted.hostname],
        "machine_id": [wanted.machine_id],
        "address": [f"{wanted.address}/{wanted.prefix}"],
        "gateway": [_as_the_kernel_writes(wanted.gateway)] if wanted.gateway else [],
        "host_keys": [],
    }
    wrong = [
        f"{key} is {', '.join(found.get(key, [])) or 'not set'}, should be {', '.join(values) or 'right'}"
        for key, values in expected.items()
        if found.get(key, []) != values
    ]
    mounted = found.get("mount", [])
    needed = [" ".join(mount) for mount in wanted.mounts]
    if wanted.scratch:
        needed.append(f"{wanted.scratch} {SCRATCH_MOUNT} rw")
    wrong += [f"{mount.split()[1]} is not mounted as it should be" for mount in needed if mount not in mounted]
    if wanted.clone and found.get("seeded") != ["yes"]:
        wrong.append("the random pool could not be reseeded (neither perl nor python3?)")
    try:
        clock = float(found["clock"][-1])
    except (KeyError, ValueError):
        return tuple(wrong + ["the script did not come to its end"])
    # whole seconds, read at some time between, of a clock that is set by a script that comes late
    return tuple(wrong) + _too_far(_off(clock, sent - 1, received))


def _off(clock: float, asked: float, received: float) -> float:
    """Return by how many seconds at least a clock is fast (or slow: below 0) that was read between two moments."""
    return min(0.0, clock - asked) + max(0.0, clock - received)


def _too_far(off: float) -> Tuple[str, ...]:
    return (f"clock is off by {off:.0f} s",) if abs(off) > CLOCK_LIMIT_S else ()


def right_clock(guest: GuestAgent, now: Callable[[], float], tolerance_s: float = CLOCK_TOLERANCE_S) -> float:
    """Set a guest's clock right if it is off by more than ``tolerance_s``; return by how many seconds it is off then.

    :param now: tells the time
    :raises VirtError: the guest does not answer
    """
    for rtc in (RTC, "", "", ""):
        asked = now()
        off = _off(guest.clock(), asked, now())
        if abs(off) <= tolerance_s:
            return off
        guest.run(assignments({"by": str(round(-1000 * off)), "rtc": rtc}) + _RIGHT_CLOCK, CALL_S)
    asked = now()
    return _off(guest.clock(), asked, now())


def personalise(
    guest: GuestAgent, wanted: Personality, now: float, timeout_s: float, stretch: Stretch = stretch
) -> float:
    """Make a guest ``wanted``, read it back and return the seconds it took.

    :raises VirtError: naming what is not as it should be, with what the script said
    """
    begun = time.monotonic()
    output = guest.run(script(wanted, now, round(LOOKS * stretch())), timeout_s)
    seconds = time.monotonic() - begun
    wrong = differences(wanted, read_back(output.stdout), now, now + seconds)
    if not wrong:
        off = right_clock(guest, lambda: now + time.monotonic() - begun)
        wrong = _too_far(off)
        if not wrong and abs(off) > CLOCK_TOLERANCE_S:
            log.warning("guest %s: its clock is off by %.1f s", wanted.hostname, off)
    if wrong:
        said = output.stderr.strip()[-500:]
        raise VirtError(
            object=f"guest {wanted.hostname}",
            reason="does not have the expected settings: " + "; ".join(wrong) + (f" (it said: {said})" if said else ""),
        )
    return seconds
