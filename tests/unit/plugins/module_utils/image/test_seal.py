# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not leave the house, and what has to come out: kernel and initrd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import image
from wnodes.image.nodes import File, Link
from wnodes.image.seal import check_sealed, extract_boot
from wnodes.model.errors import ImageError


def test_a_clean_image_passes() -> None:
    handle = image()
    handle.put("/etc/ssh/ssh_host_rsa_key.pub", File(b"public", 0o644))
    handle.put("/var/lib/dbus/machine-id", Link("/etc/machine-id"))
    check_sealed(handle)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/etc/shadow", "root:$y$j9T$abc:1::::::\n", "a password of root"),
        ("/etc/shadow-", "root::1::::::\n", "an empty password of root"),
        ("/etc/ssh/ssh_host_ed25519_key", "x", "ssh host key"),
        ("/etc/munge/munge.key", "x", "munge key"),
        ("/etc/slurm/jwt_hs256.key", "x", "key of Slurm"),
        ("/root/.ssh/id_rsa", "x", "private ssh key"),
        ("/home/alice/.ssh/id_ed25519", "x", "private ssh key"),
        ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", "machine id"),
        ("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", "machine id"),
        ("/var/lib/systemd/random-seed", "x", "random seed"),
        ("/etc/krb5.keytab", "x", "Kerberos"),
    ],
)
def test_secrets_and_identities_are_found(path: str, content: str, said: str) -> None:
    handle = image()
    handle.put(path, File(content.encode(), 0o600))
    with pytest.raises(ImageError) as caught:
        check_sealed(handle)
    assert said in caught.value.value
    assert path in caught.value.value


def test_all_findings_come_at_once() -> None:
    handle = image()
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    handle.put("/etc/machine-id", File(b"x", 0o444))
    with pytest.raises(ImageError) as caught:
        check_sealed(handle)
    assert caught.value.value.count("(") == 2


@pytest.mark.parametrize("content", [b"", b"uninitialized\n"])
def test_a_machine_id_that_says_nothing_passes(content: bytes) -> None:
    handle = image()
    handle.put("/etc/machine-id", File(content, 0o444))
    check_sealed(handle)


def test_the_newest_kernel_comes_out_with_its_initrd(tmp_path: Path) -> None:
    extract_boot(image(), str(tmp_path / "k"), str(tmp_path / "i"))
    assert (tmp_path / "k").read_text() == "kernel"
    assert (tmp_path / "i").read_text() == "initrd"


def test_dracut_names_its_initrd_otherwise(tmp_path: Path) -> None:
    handle = image()
    handle.put("/boot/vmlinuz-9-el", File(b"k9", 0o644))
    handle.put("/boot/initramfs-9-el.img", File(b"i9", 0o644))
    handle.put("/boot/vmlinuz-0-rescue-abc", File(b"r", 0o644))
    extract_boot(handle, str(tmp_path / "k"), str(tmp_path / "i"))
    assert (tmp_path / "i").read_text() == "i9"


@pytest.mark.parametrize("missing", ["vmlinuz", "initrd"])
def test_an_image_that_can_not_boot_is_refused(tmp_path: Path, missing: str) -> None:
    handle = image()
    handle.tree = {path: node for path, node in handle.tree.items() if missing not in path}
    with pytest.raises(ImageError, match=f"no {'kernel' if missing == 'vmlinuz' else 'initrd'}"):
        extract_boot(handle, str(tmp_path / "k"), str(tmp_path / "i"))
