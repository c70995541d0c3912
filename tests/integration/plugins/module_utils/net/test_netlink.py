# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events and devices of a real kernel, in a network namespace of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[5] / "plugins"

CHILD = """
import subprocess, threading
from module_utils.net.linux_bridge import LinuxBridge
from module_utils.net.netlink import NetworkEvents

def ip(*words):
    subprocess.run(["ip", *words], check=True)

ip("link", "add", "br.wnlab", "address", "52:54:00:00:00:01", "type", "bridge")
network = LinuxBridge()
looked = threading.Event()

def there():
    seen = network._links()["br.wnlab"].addressing
    looked.set()
    return "192.0.2.10/24" in seen.addresses and any(route.gateway == "192.0.2.1" for route in seen.routes)

def change():
    looked.wait(30)
    ip("link", "set", "br.wnlab", "up")
    ip("address", "add", "192.0.2.10/24", "dev", "br.wnlab")
    ip("route", "add", "default", "via", "192.0.2.1", "dev", "br.wnlab")

with NetworkEvents() as events:
    changer = threading.Thread(target=change)
    changer.start()
    assert events.wait_until(there, 30), network._links()
    changer.join()
    assert not events.wait_until(lambda: False, 0.1)
link = network._links()["br.wnlab"]
assert (link.kind, link.mac, link.leased) == ("bridge", "52:54:00:00:00:01", False), link
"""


def test_changes_of_the_kernel_are_seen_without_polling() -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", CHILD],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(PLUGINS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
