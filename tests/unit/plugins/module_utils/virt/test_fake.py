# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake fails as libvirt does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.virt.test_policy import REQUEST, domain
from wnodes.model.errors import ImageError, NotFoundError, UnavailableError, VirtError
from wnodes.virt.base import HostEvent
from wnodes.virt.fake import FakeVmHost


def test_domains_start_once_and_end() -> None:
    host, events = FakeVmHost(), []
    host.subscribe(events.append)
    made = domain(REQUEST, "qemu")
    host.start(made)
    host.start(made)
    found = host.find(made.uuid)
    assert found is not None
    assert (found.name, found.metadata, len(host.list())) == ("vwn-100", made.metadata, 1)
    assert (host.destroy(made.uuid), host.destroy(made.uuid)) == (True, False)
    assert events == [HostEvent("agent", made.uuid), HostEvent("stopped", made.uuid)]


def test_foreign_domains_are_never_destroyed() -> None:
    host = FakeVmHost()
    host.add_foreign("f", "somebody")
    with pytest.raises(VirtError, match="not ours"):
        host.destroy("f")


def test_a_host_that_is_down_answers_nothing() -> None:
    host = FakeVmHost()
    host.down = True
    for call in (host.ping, host.list, lambda: host.find("u"), lambda: host.agent("u", "guest-ping", {}, 1)):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert type(caught.value) is UnavailableError


def test_a_domain_is_saved_once_and_restored_as_others(tmp_path: Path) -> None:
    host, path = FakeVmHost(), str(tmp_path / "memory")
    bare = replace(domain(REQUEST, "qemu"), interfaces=())
    host.start(bare)
    host.save(bare.uuid, path)
    assert host.list() == ()
    host.save(bare.uuid, path)  # it is gone, and the file is whole
    (tmp_path / "memory").unlink()
    with pytest.raises(ImageError):
        host.save(bare.uuid, path)


def test_restoring_and_attaching_twice_is_once(tmp_path: Path) -> None:
    host, path, made = FakeVmHost(), str(tmp_path / "memory"), domain(REQUEST, "qemu")
    host.start(replace(made, uuid="template", name="template"))
    host.save("template", path)
    for _time in range(2):
        host.restore(path, made)
        host.attach(made.uuid, made.interfaces[0])
    assert host.restored == [made.uuid]
    assert host.domains[made.uuid].attached == [made.interfaces[0]]
    with pytest.raises(VirtError, match="of this name"):
        host.restore(path, replace(made, uuid="another"))
    with pytest.raises(NotFoundError):
        host.attach("template", made.interfaces[0])
    with pytest.raises(NotFoundError):
        host.cpu_seconds("template")
