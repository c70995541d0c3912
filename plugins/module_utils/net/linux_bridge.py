# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's own bridge, configured through systemd-networkd."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Callable, Dict, Mapping, NoReturn, Optional, Tuple

from .. import process
from ..model.errors import NetworkError, StateError, WnodesError
from . import iproute, networkd
from .base import Network
from .netlink import NetworkEvents
from .plan import Bridge, BridgeDifference, Links, find_uplink, lacking, missing, plan_bridge, refuse_if_used

FOLDER = Path("/etc/systemd/network")
#: for one call of ip or networkctl; they answer in milliseconds
COMMAND_LIMIT_S = 20.0


class LinuxBridge(Network):
    """Bridges of the kernel, kept by systemd-networkd.

    :param folder: where networkd reads its files
    :param limit_s: how long the network may take to come up, and again to come back, in seconds
    :param run: starts programs, like :func:`wnodes.process.run`
    :param events: opens a subscription to network changes
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        limit_s: float = 30.0,
        run: Callable[..., process.Completed] = process.run,
        events: Callable[[], NetworkEvents] = NetworkEvents,
    ) -> None:
        self._folder = folder
        self._limit_s = limit_s
        self._run = run
        self._events = events

    def bridge_difference(self, name: str, uplink: str, present: bool = True) -> BridgeDifference:
        links = self._links()
        find_uplink(name, uplink, links)
        there = self._texts(name)
        ours = networkd.parse(name, {file: text for file, text in there.items() if text is not None})
        if ours.uplink not in ("", uplink):
            raise StateError(
                object=f"bridge {name}",
                value=ours.uplink,
                reason=f"it has another uplink than {uplink}",
                hint="remove the bridge first (state: absent)",
            )
        if present:
            return self._to_present(ours, uplink, links, there)
        refuse_if_used(name, uplink, links)
        addressing = ours.addressing
        if not addressing.addresses and name in links:
            addressing = links[name].addressing
        files = {self._path(file): (text, None) for file, text in there.items() if text is not None}
        live = (f"{name}: is there",) if name in links else ()
        return BridgeDifference(name, uplink, False, addressing, files, live)

    def apply(self, difference: BridgeDifference) -> None:
        if not difference.changed:
            return
        with self._events() as events:
            try:
                self._write({path: pair[1] for path, pair in difference.files.items()})
                self._activate(difference)
                if not events.wait_until(lambda: not self._lacks(difference), self._limit_s):
                    raise NetworkError(
                        object=f"bridge {difference.bridge}",
                        value=difference.uplink,
                        reason=f"not as wanted after {self._limit_s:g} s: {', '.join(self._lacks(difference))}",
                    )
            except WnodesError as error:
                self._roll_back(difference, events, error)

    # --- what is ----------------------------------------------------------------------------------------------------

    def _links(self) -> Links:
        said = [self._run(argv, timeout=COMMAND_LIMIT_S).stdout for argv in (iproute.ADDRESSES, *iproute.ROUTES)]
        return iproute.parse(*said)

    def _path(self, file: str) -> str:
        return str(self._folder / file)

    def _texts(self, name: str) -> Dict[str, Optional[str]]:
        texts: Dict[str, Optional[str]] = {}
        for file in networkd.names(name):
            try:
                texts[file] = (self._folder / file).read_text(encoding="utf-8")
            except FileNotFoundError:
                texts[file] = None
            except (OSError, ValueError) as error:
                raise NetworkError(object=self._path(file), reason=f"can't be read: {error}") from error
        return texts

    def _resolver(self, device: str) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
        """Return the DNS servers and search domains that networkd has for the device.

        :raises NetworkError: networkd does not manage the device
        """
        said = self._run(("networkctl", "--json=short", "status", device), timeout=COMMAND_LIMIT_S).stdout
        try:
            status = json.loads(said)
            state = status.get("AdministrativeState", "unmanaged")
            servers = tuple(str(ip_address(bytes(entry["Address"]))) for entry in status.get("DNS", ()))
            domains = tuple(str(entry["Domain"]) for entry in status.get("SearchDomains", ()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NetworkError(object="networkctl", reason=f"its output can't be understood: {error!r}") from error
        if state == "unmanaged":
            raise NetworkError(
                object=f"device {device}",
                value=state,
                reason="systemd-networkd does not manage it",
                hint=f"let systemd-networkd configure this node's network (a .network file in {self._folder})",
            )
        return servers, domains

    # --- what separates it from what shall be -------------------------------------------------------------------------

    def _to_present(
        self, ours: Bridge, uplink: str, links: Links, there: Mapping[str, Optional[str]]
    ) -> BridgeDifference:
        name = ours.name
        enslaved = links[uplink].master == name
        if enslaved and not any(text is not None for text in there.values()):
            # The site has made this very bridge in its own way: leave it alone.
            return BridgeDifference(name, uplink, True, links[name].addressing)
        bridge = replace(ours, uplink=uplink, mac=ours.mac or links[uplink].mac)
        if not ours.addressing.addresses:
            # Taken over once, and then kept: the bridge is asked only where our own file is lost.
            servers, domains = self._resolver(name if enslaved else uplink)
            source = links[name].addressing if enslaved else plan_bridge(name, uplink, links).addressing
            bridge = replace(bridge, addressing=replace(source, dns=servers, domains=domains))
        wanted = networkd.render(bridge)
        files = {self._path(file): (there[file], text) for file, text in wanted.items() if there[file] != text}
        live = missing(name, uplink, bridge.addressing, links)
        return BridgeDifference(name, uplink, True, bridge.addressing, files, live)

    def _lacks(self, difference: BridgeDifference) -> Tuple[str, ...]:
        links = self._links()
        if difference.present:
            return missing(difference.bridge, difference.uplink, difference.addressing, links)
        still = (f"{difference.bridge}: still there",) if difference.bridge in links else ()
        return still + lacking(difference.uplink, difference.addressing, links)

    # --- making it so -------------------------------------------------------------------------------------------------

    def _networkctl(self, *words: str) -> None:
        self._run(("networkctl", *words), timeout=COMMAND_LIMIT_S)

    def _activate(self, difference: BridgeDifference) -> None:
        if difference.present:
            known = len(difference.files) < len(networkd.names(difference.bridge))
            if known and difference.bridge not in self._links():
                # The bridge was deleted by hand. A running networkd still means the device that is gone.
                self._run(("systemctl", "restart", "systemd-networkd.service"), timeout=COMMAND_LIMIT_S)
                return
            # networkd passes over files that are as old as before, also where somebody changed the devices by hand.
            self._touch(difference.bridge)
            self._networkctl("reload")
            return
        self._networkctl("reload")
        if difference.bridge in self._links():
            self._networkctl("delete", difference.bridge)
        # An uplink whose bridge goes away under it is not always given its own addresses again.
        self._networkctl("reconfigure", difference.uplink)

    def _touch(self, name: str) -> None:
        for file in networkd.names(name):
            try:
                os.utime(self._path(file))
            except OSError as error:
                raise NetworkError(object=self._path(file), reason=f"can't be touched: {error.strerror}") from error

    def _roll_back(self, difference: BridgeDifference, events: NetworkEvents, why: WnodesError) -> NoReturn:
        """Bring the files and devices of before back, and raise what happened."""
        files = {path: pair[0] for path, pair in difference.files.items()}
        new = difference.present and any(line.startswith(f"{difference.bridge}: no such") for line in difference.live)

        def reachable() -> bool:
            links = self._links()
            devices = (difference.uplink, difference.bridge)
            return any(device in links and not lacking(device, difference.addressing, links) for device in devices)

        try:
            self._write(files)
            self._networkctl("reload")
            if new and difference.bridge in self._links():
                self._networkctl("delete", difference.bridge)
            self._networkctl("reconfigure", difference.uplink)
            back = events.wait_until(reachable, self._limit_s)
            outcome = "what was before is back" if back else "what was before is written back, but has no address yet"
        except WnodesError as error:
            outcome = f"going back failed too: {error}"
        raise NetworkError(
            object=why.object,
            value=why.value,
            reason=f"{why.reason}; {outcome}",
            hint=why.hint or f"does a file in {self._folder} sort before {networkd.PREFIX}* and match the device?",
        ) from why

    def _write(self, files: Mapping[str, Optional[str]]) -> None:
        for path, text in files.items():
            try:
                if text is None:
                    Path(path).unlink(missing_ok=True)
                else:
                    _write_atomically(Path(path), text)
            except OSError as error:
                raise NetworkError(object=path, reason=f"can't be written: {error.strerror}") from error


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # networkd reads its files as its own user
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
