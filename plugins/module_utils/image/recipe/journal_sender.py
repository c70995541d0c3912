# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a guest's journal as syslog where the image has no syslog daemon: with bash and journalctl alone.

Nothing is lost while the receiver is away, and nothing sent twice: the cursor of the last entry sent is kept. In a
guest that was restored from a template it has waited for a network since the template booted, and sends what is the
guest's own: what the template had logged is not.
"""

from __future__ import annotations

SCRIPT_PATH = "/usr/local/lib/wnodes/send-journal"
UNIT_PATH = "/etc/systemd/system/wnodes-syslog.service"
LINK_PATH = "/etc/systemd/system/multi-user.target.wants/wnodes-syslog.service"

#: to be formatted with ``host``, ``port`` and ``protocol`` (tcp, udp)
UNIT = """\
[Unit]
Description=Send the journal to {host}
After=network.target systemd-journald.service

[Service]
ExecStart=/usr/local/lib/wnodes/send-journal {host} {port} {protocol}
DynamicUser=yes
AmbientCapabilities=CAP_DAC_READ_SEARCH
RuntimeDirectory=wnodes-syslog
RuntimeDirectoryPreserve=yes
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""

SCRIPT = r"""#!/bin/bash
# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# send-journal HOST PORT tcp|udp: sends the journal as syslog (RFC 5424, a line each), every entry once.
# What can't be sent stays in the journal: the cursor of the last entry that was sent is kept for the next start.
# Entries are user input: they are printed and compared, never evaluated.
export LC_ALL=C TZ=UTC
cursor=${RUNTIME_DIRECTORY:?}/cursor

# Sets $booted to the time of the boot by the clock: later, where the guest was saved and restored meanwhile.
boot_time() {
    local up
    read -r up _ </proc/uptime
    booted=$((EPOCHSECONDS - ${up%.*}))
}

# Sets $value to the text of field $1; empty where there is none, or where it is no text.
field() {
    value=${line#*\""$1"\":\"}
    [[ $value != "$line" ]] || value=
    value=${value%%\"*}
}

# Sets $value to the message, which the journal shows as a list of bytes where it holds control characters.
message() {
    field MESSAGE
    local bytes=${line#*\"MESSAGE\":[}
    [[ $bytes != "$line" ]] || return
    bytes=${bytes%%]*}
    [[ $bytes != *[!0-9,]* ]] || return
    # shellcheck disable=SC2086  # digits: one argument each
    printf -v bytes '\\%03o' ${bytes//,/ }
    printf -v value %b "$bytes"
    value=${value//[[:cntrl:]]/?}
}

boot_time
began=$booted
until exec 3<>"/dev/$3/$1/$2"; do
    sleep 2
done 2>/dev/null
boot_time
read -r host </proc/sys/kernel/hostname
host=${host%%.*}

from=(--boot)
((booted - began < 30)) || from=(--since="@$((EPOCHSECONDS - 2))")
[[ ! -s $cursor ]] || from=(--after-cursor="$(<"$cursor")")
while IFS= read -r line; do
    line=${line//\\\\/\\x5c}
    line=${line//\\\"/\'}
    field PRIORITY && [[ $value == [0-7] ]] && priority=$value || priority=6
    field SYSLOG_FACILITY
    [[ $value == [0-9] || $value == 1[0-9] || $value == 2[0-3] ]] && facility=$value || facility=1
    field SYSLOG_IDENTIFIER && value=${value:0:48} && tag=${value//[^!-~]/_}
    field _PID && pid=${value//[^0-9]/}
    field __REALTIME_TIMESTAMP && at=$value
    field __CURSOR && here=$value
    message
    # Nothing is ever said to us: what can be read is the end of the connection.
    ! read -r -t 0 -u 3 || exit 1
    printf '<%d>1 %(%FT%T)T.%sZ %s %s %s - - %s\n' $((facility * 8 + priority)) "${at:0:-6}" "${at: -6}" \
        "${host:--}" "${tag:--}" "${pid:--}" "$value" >&3 || exit 1
    printf '%s\n' "$here" >"$cursor"
done < <(exec journalctl --quiet --follow --all --lines=all --output=json "${from[@]}" \
    --output-fields=MESSAGE,PRIORITY,SYSLOG_FACILITY,SYSLOG_IDENTIFIER,_PID)
exit 1
"""
