# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each call is the request it should be; wnodes_services/test_nameserver_main.py has the other end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wnodes.directory.base import Heartbeat
from wnodes.jsonhttp import JsonClient
from wnodes.model.errors import ConfigError, UnavailableError
from wnodes.nameserver.client import NameserverClient
from wnodes.nameserver.config import NameserverAccess


class Recorder(JsonClient):
    def __init__(self, answer: Any) -> None:
        self.answer, self.calls = answer, []

    def call(self, method: str, target: str, body: Any = None, *, extra_s: float = 0.0) -> Any:
        self.calls.append((method, target, body))
        return self.answer


def test_a_heartbeat_is_put_where_it_belongs() -> None:
    recorder = Recorder({"ok": True})
    NameserverClient(recorder).beat(Heartbeat("bait", "hv1", status={"ok": True}))
    assert recorder.calls == [("PUT", "/v1/heartbeats/bait/hv1", {"ok": True})]


def test_a_release_names_its_epoch() -> None:
    recorder = Recorder({"released": False})
    assert not NameserverClient(recorder).release("a/b", 7)
    assert recorder.calls == [("DELETE", "/v1/leases/a%2Fb?epoch=7", None)]


def test_what_is_no_lease_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lease: nmae .*: unknown key"):
        NameserverClient(Recorder({"nmae": "a"})).lease("a", "hv1", 60)


def test_connecting_needs_the_role_s_files(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"bait\.crt"):
        NameserverClient.connect(NameserverAccess("https://head", str(tmp_path)), "bait")
