# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real nameserver process behind real certificates of the site's own CA, and under a notify socket as systemd has."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from wnodes.directory.base import Heartbeat
from wnodes.model.errors import AuthError, UnavailableError
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import NameserverAccess

ROOT = Path(__file__).resolve().parents[6]
FILES = ROOT / "roles" / "runtime" / "files"
LIMIT_S = 120.0
RANGE = {"prefix": "vm-", "first": 1, "address": "10.0.0.1", "count": 9}


@dataclass
class Pki:
    """A CA and certificates in one folder."""

    folder: Path

    def _ca(self, *arguments: str, text: str = "") -> str:
        command = [sys.executable, str(FILES / "ca.py"), str(self.folder / "ca"), *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    def make(self, role: str, node: str = "hv1", days: int = 1) -> None:
        """Make ``<role>.crt`` and ``<role>.key``."""
        (self.folder / "ca.crt").write_text(self._ca("show"))
        key = self.folder / f"{role}.key"
        command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        # What a request says of itself does not count.
        lies = ["-subj", "/CN=root", "-addext", "subjectAltName=DNS:manager.wnodes", "-keyout", str(key)]
        request = subprocess.run([*command, *lies], capture_output=True, text=True, check=True).stdout
        (self.folder / f"{role}.crt").write_text(self._ca("sign", role, node, str(days), text=request))


@dataclass
class Server:
    """A nameserver process with its configuration in ``folder``."""

    folder: Path
    pki: Pki
    port: int = 0
    metrics_port: int = 0
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None

    @property
    def config(self) -> dict[str, object]:
        return {
            "pool": {"network": {"prefix": 24}, "ranges": [RANGE]},
            "listen": "127.0.0.1", "port": self.port, "pki_dir": str(self.pki.folder),
            "state_dir": str(self.folder / "state"), "socket": str(self.folder / "ns.sock"),
            "metrics_listen": f"127.0.0.1:{self.metrics_port}" if self.metrics_port else "",
        }  # fmt: skip

    def command(self, config: dict[str, object]) -> list[str]:
        path = self.folder / "nameserver.yml"
        path.write_text(yaml.safe_dump(config))
        return [sys.executable, "-m", "wnodes_services.nameserver_main", str(path)]

    def environment(self, **more: str) -> dict[str, str]:
        names = self.folder / "names"
        names.mkdir(exist_ok=True)
        link = names / "wnodes"
        if not link.exists():
            link.symlink_to(ROOT / "plugins" / "module_utils")
        return {**os.environ, "PYTHONPATH": f"{names}:{FILES}", **more}

    def start(self, metrics_port: int = 0) -> None:
        with socket.socket() as first, socket.socket() as second:
            for probe in (first, second):
                probe.bind(("127.0.0.1", 0))
            self.port, self.metrics_port = first.getsockname()[1], metrics_port or second.getsockname()[1]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(self.folder / "notify"))
            channel.settimeout(LIMIT_S)
            environment = self.environment(NOTIFY_SOCKET=str(self.folder / "notify"), WATCHDOG_USEC="1500000")
            command = self.command(self.config)
            self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            while len(self.said) < 3:
                self.said.append(channel.recv(100).decode())

    def stop(self) -> str:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=LIMIT_S)[1]


@pytest.fixture(scope="module")
def new_pki(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Pki]:
    return lambda: Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def pki(new_pki: Callable[[], Pki]) -> Pki:
    made = new_pki()
    for role in ("nameserver", "hypervisor", "bait", "manager"):
        made.make(role)
    return made


@pytest.fixture
def client() -> Iterator[Callable[..., NameserverClient]]:
    """Return a maker of clients that are closed in the end."""
    made: list[NameserverClient] = []

    def make(server: Server, role: str, pki: Pki | None = None) -> NameserverClient:
        access = NameserverAccess(f"https://127.0.0.1:{server.port}", str((pki or server.pki).folder))
        made.append(NameserverClient.connect(access, role))
        return made[-1]

    yield make
    for each in made:
        each.close()


Client = Callable[..., NameserverClient]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("nameserver"), pki)
    made.start()
    yield made
    assert made.stop() == ""
    assert made.process is not None
    assert made.process.returncode == 0


def test_it_tells_systemd_that_it_is_ready_and_alive(server: Server) -> None:
    assert server.said[:3] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_each_role_may_do_its_own(server: Server, client: Client) -> None:
    hypervisor, bait, manager = (client(server, role) for role in ("hypervisor", "bait", "manager"))
    lease = hypervisor.lease("r1", "hv1", 60)
    bait.beat(Heartbeat("bait", "hv1", status={"ok": True}))
    assert manager.leases() == (lease,)
    assert manager.heartbeats()[0].host == "hv1"
    for call in (lambda: bait.lease("r2", "hv1", 60), lambda: hypervisor.lease("r2", "hv2", 60), hypervisor.leases):
        with pytest.raises(AuthError):
            call()
    assert hypervisor.release("r1", lease.epoch)


def test_a_nameserver_s_certificate_is_not_good_for_calling(server: Server, client: Client) -> None:
    with pytest.raises(UnavailableError):
        client(server, "nameserver").tags()


def test_a_certificate_of_another_ca_is_refused(server: Server, new_pki: Callable[[], Pki], client: Client) -> None:
    foreign = new_pki()
    foreign.make("manager")
    (foreign.folder / "ca.crt").write_text((server.pki.folder / "ca.crt").read_text())
    with pytest.raises(UnavailableError):
        client(server, "manager", foreign).tags()


def test_a_server_of_another_ca_is_not_believed(server: Server, new_pki: Callable[[], Pki], client: Client) -> None:
    foreign = new_pki()
    foreign.make("manager")
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        client(server, "manager", foreign).tags()


def test_an_expired_certificate_is_refused(server: Server, new_pki: Callable[[], Pki], client: Client) -> None:
    expired = new_pki()
    (expired.folder / "ca").symlink_to(server.pki.folder / "ca")
    expired.make("manager", days=-1)
    with pytest.raises(UnavailableError):
        client(server, "manager", expired).tags()


def test_without_a_certificate_nothing_is_served(server: Server) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-ign_eof"]
    done = subprocess.run(
        command, input="GET /v1/tags HTTP/1.0\r\n\r\n", capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert "HTTP/1.1" not in done.stdout
    assert done.returncode != 0


def test_anybody_may_read_metrics_where_they_are_told_and_nothing_else(server: Server) -> None:
    answers = {}
    for path in ("/metrics", "/v1/tags", "/v1/leases", "/healthz"):
        with closing(http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=LIMIT_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answers[path] = answer.status, answer.read().decode()
    assert answers["/metrics"][0] == 200
    assert "wnodes_pool_names 9.0" in answers["/metrics"][1]
    assert [answers[path] for path in ("/v1/tags", "/v1/leases", "/healthz")] == [(404, "")] * 3


def test_a_port_for_metrics_that_is_taken_stops_nothing(tmp_path: Path, pki: Pki, client: Client) -> None:
    made = Server(tmp_path, pki)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made.start(metrics_port=taken.getsockname()[1])
        try:
            assert client(made, "manager").tags() == ()
        finally:
            said = made.stop()
    assert "metrics are not served at 127.0.0.1:" in said


def test_a_hypervisor_can_not_act_as_the_nameserver(
    tmp_path: Path, pki: Pki, new_pki: Callable[[], Pki], client: Client
) -> None:
    pretender = new_pki()
    for suffix in ("crt", "key"):
        (pretender.folder / f"nameserver.{suffix}").write_bytes((pki.folder / f"hypervisor.{suffix}").read_bytes())
    (pretender.folder / "ca.crt").write_bytes((pki.folder / "ca.crt").read_bytes())
    impostor = Server(tmp_path, pretender)
    impostor.start()
    try:
        with pytest.raises(UnavailableError, match="Hostname mismatch"):
            client(impostor, "bait", pki).tags()
    finally:
        impostor.stop()


def test_at_the_socket_root_is_the_manager(server: Server) -> None:
    local = closing(NameserverClient.local(str(server.folder / "ns.sock")))
    assert os.stat(server.folder / "ns.sock").st_mode & 0o777 == 0o666
    with local as directory:
        if os.getuid() == 0:
            assert directory.leases() == ()
        else:
            with pytest.raises(AuthError):
                directory.leases()
        assert directory.tags() == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prot": 1}, "nameserver.yml: prot (1): unknown key; known keys: pool,"),
        ({"port": "x"}, "nameserver.yml: port ('x'): must be a whole number"),
        ({"pool": {"network": {"prefix": 24}}}, "nameserver.yml: pool: has no host names; give `ranges`"),
    ],
)
def test_a_broken_configuration_is_told_in_one_line(
    tmp_path: Path, pki: Pki, change: dict[str, object], said: str
) -> None:
    broken = Server(tmp_path, pki, 1)
    command = broken.command({**broken.config, **change})
    done = subprocess.run(
        command, env=broken.environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 78
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_answers_are_sent_without_delay(server: Server, client: Client) -> None:
    manager = client(server, "manager")
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        manager.tags()
        seconds.append(time.perf_counter() - start)
    # The kernel's delayed acknowledgement alone would take 40 ms each time.
    assert min(seconds) < 0.03
