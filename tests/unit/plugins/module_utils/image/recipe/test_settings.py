# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time zone and name servers, as the tree of the image wants them."""

from __future__ import annotations

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import enterprise_linux, image
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import Dns
from wnodes.image.recipe.settings import plan_dns, plan_timezone
from wnodes.image.recipe.view import File, Folder, ImageView, Symlink
from wnodes.model.errors import ImageError

DNS = Dns(("192.0.2.53", "fd00::53"), ("example.org", "example.net"))
RESOLV = b"search example.org example.net\nnameserver 192.0.2.53\nnameserver fd00::53\n"


def zone(handle: FakeHandle, name: str) -> dict[str, object]:
    view = ImageView(handle)
    plan_timezone(view, name)
    return {change.path: change.after for change in view.changes()}


def test_the_zone_is_a_link_and_on_debian_a_name_too() -> None:
    link = {"/etc/localtime": Symlink("/usr/share/zoneinfo/Europe/Rome")}
    assert zone(enterprise_linux(), "Europe/Rome") == link
    assert zone(image(), "Europe/Rome") == {**link, "/etc/timezone": File(b"Europe/Rome\n", 0o644)}


@pytest.mark.parametrize("target", ["/usr/share/zoneinfo/Europe/Rome", "../usr/share/zoneinfo/Europe/Rome"])
def test_a_link_that_leads_there_stays(target: str) -> None:
    handle = enterprise_linux()
    handle.put("/etc/localtime", Symlink(target))
    assert zone(handle, "Europe/Rome") == {}


def test_a_zone_may_be_another_name_of_one() -> None:
    handle = enterprise_linux()
    handle.put("/usr/share/zoneinfo/Rome", Symlink("Europe/Rome"))
    assert zone(handle, "Rome") == {"/etc/localtime": Symlink("/usr/share/zoneinfo/Rome")}


@pytest.mark.parametrize("name", ["Europe/Nowhere", "Europe"])
def test_a_zone_the_image_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ImageError, match="zoneinfo"):
        zone(image(), name)


@pytest.mark.parametrize("before", [None, File(b"nameserver 127.0.0.1\n", 0o600), Symlink("../run/NetworkManager/x")])
def test_name_servers_go_to_resolv_conf(before: object) -> None:
    handle = image()
    if before is not None:
        handle.tree["/etc/resolv.conf"] = before  # type: ignore[assignment]
    view = ImageView(handle)
    plan_dns(view, DNS)
    assert {change.path: change.after for change in view.changes()} == {"/etc/resolv.conf": File(RESOLV, 0o644)}


@pytest.mark.parametrize("target", ["../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf"])
def test_where_resolv_conf_is_systemd_resolved_s_that_is_told(target: str) -> None:
    handle = image()
    handle.put("/etc/resolv.conf", Symlink(target))
    view = ImageView(handle)
    plan_dns(view, DNS)
    written = {change.path: change.after for change in view.changes() if isinstance(change.after, File)}
    assert written == {
        "/etc/systemd/resolved.conf.d/50-wnodes.conf": File(
            b"[Resolve]\nDNS=192.0.2.53 fd00::53\nDomains=example.org example.net\n", 0o644
        )
    }


def test_a_folder_in_the_place_of_resolv_conf_is_named() -> None:
    handle = image()
    handle.put("/etc/resolv.conf", Folder(0o755))
    with pytest.raises(ImageError, match="folder"):
        plan_dns(ImageView(handle), DNS)
