# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the head to a node for real: command line, nameserver, certificates, sockets; fakes only behind the services."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.roles.runtime.files.wnodes_services.test_server import LIMIT_S, ROOT, Pki, Server
from wnodes.bait.client import BaitClient
from wnodes.jsonhttp import tls_client
from wnodes.model.errors import AuthError, UnavailableError
from wnodes_services.cli import main, site

#: a command leaves it to its end to close connections
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PROCESS = ROOT / "tests" / "integration" / "node_process.py"


@dataclass
class Site:
    """A nameserver and the node hv1, each a process."""

    head: Server
    ports: dict[str, int]

    @property
    def pki(self) -> str:
        return str(self.head.pki.folder)

    def bait(self, role: str = "manager", node: str = "hv1") -> Any:
        place = ("127.0.0.1", self.ports["bait"])
        return BaitClient(tls_client("bait", place, f"{node}.bait.wnodes", "", self.pki, role, LIMIT_S))


@contextlib.contextmanager
def running(role: str, server: Server, port: int) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(server.folder / f"{role}.notify"))
        channel.settimeout(LIMIT_S)
        command = [sys.executable, str(PROCESS), role, str(server.folder), str(port), str(server.port)]
        environment = server.environment(NOTIFY_SOCKET=str(server.folder / f"{role}.notify"))
        process = subprocess.Popen(command, env=environment)
        try:
            assert channel.recv(100) == b"READY=1"
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_S)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("farm")
    (folder / "pki").mkdir()
    pki = Pki(folder / "pki")
    for role in ("nameserver", "manager"):
        pki.make(role, "head")
    for role in ("hypervisor", "bait"):
        pki.make(role, "hv1")
    server = Server(folder, pki)
    server.start()
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = {"bait": first.getsockname()[1], "hypervisor": second.getsockname()[1]}
    with running("bait", server, ports["bait"]), running("hypervisor", server, ports["hypervisor"]):
        yield Site(server, ports)
    server.stop()


@pytest.fixture
def wnodes(farm: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command line on the head; return exit code and output."""
    monkeypatch.setattr(site, "socket", lambda service: str(farm.head.folder / "ns.sock"))
    monkeypatch.setattr(site, "PKI_DIR", farm.pki)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wnodes", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return int(caught.value.code or 0), capsys.readouterr().out

    return run


def test_a_node_is_drained_and_opened_from_the_head(farm: Site, wnodes: Callable[..., Any]) -> None:
    code, out = wnodes("drain", "hv*", "--reason", "new kernel", "--wait", "--wait-limit", "30s", "--json")
    (told,) = json.loads(out)
    assert (code, told["changed"], told["drain"]["who"]) == (0, True, "root on head")
    assert farm.bait().status()["drain"]["empty"] is True
    assert "drained (empty): new kernel" in wnodes("status")[1]
    assert wnodes("undrain", "hv1") == (0, "hv1: takes jobs\n")


def test_a_console_comes_from_the_node_and_is_harmless(wnodes: Callable[..., Any]) -> None:
    assert wnodes("console", "vwn-100") == (0, "^[[2Jbooting\nlogin: \n")


def test_a_bundle_has_the_parts_of_both_services(wnodes: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    assert wnodes("support-bundle", "--output", str(path))[0] == 0
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("bait/status.json", "bait/config.json", "bait/journal.txt", "hypervisor/versions.txt"):
        assert f"hv1/{wanted}" in names
    assert f"{site.this_host()}/nameserver/leases.json" in names


@pytest.mark.parametrize("role", ["bait", "hypervisor"])
def test_a_certificate_of_another_role_is_refused(farm: Site, role: str) -> None:
    with pytest.raises(AuthError, match=f"{role} hv1.*is not a manager's"):
        farm.bait(role).status()


def test_a_nameserver_s_certificate_is_no_client_s(farm: Site) -> None:
    with pytest.raises(UnavailableError):
        farm.bait("nameserver").status()


def test_a_node_is_not_believed_to_be_another_one(farm: Site) -> None:
    with pytest.raises(UnavailableError, match="Hostname mismatch"):
        farm.bait(node="hv2").status()


def test_a_hypervisor_is_not_believed_to_be_the_bait(farm: Site) -> None:
    place = ("127.0.0.1", farm.ports["hypervisor"])
    client = tls_client("bait", place, "hv1.bait.wnodes", "", farm.pki, "manager", LIMIT_S)
    with pytest.raises(UnavailableError, match="Hostname mismatch"):
        client.call("GET", "/v1/status")


def test_a_manager_of_another_site_is_refused(farm: Site, tmp_path: Path) -> None:
    foreign = Pki(tmp_path)
    foreign.make("manager", "head")
    (tmp_path / "ca.crt").write_text(Path(farm.pki, "ca.crt").read_text())
    place = ("127.0.0.1", farm.ports["bait"])
    with pytest.raises(UnavailableError):
        tls_client("bait", place, "hv1.bait.wnodes", "", str(tmp_path), "manager", LIMIT_S).call("GET", "/v1/status")
