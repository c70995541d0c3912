# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not leave the house, and what has to come out: kernel and initrd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import enterprise_linux, image
from wnodes.image.inspection import check_publishable, extract_boot, meant_keys
from wnodes.image.recipe.fake import FakeHandle
from wnodes.image.recipe.operations import FileOp, Recipe, SshKeys
from wnodes.image.recipe.view import LIMIT, File, Folder, Node, SpecialFile, Symlink
from wnodes.model.errors import ImageError


def test_a_clean_image_passes() -> None:
    handle = image()
    handle.put("/etc/ssh/ssh_host_rsa_key.pub", File(b"public", 0o644))
    handle.put("/var/lib/dbus/machine-id", Symlink("/etc/machine-id"))
    check_publishable(handle)


def test_a_group_without_a_password_is_no_open_door() -> None:
    check_publishable(enterprise_linux())


# where, content, what is said of it
FINDINGS = [
    ("/etc/shadow", "root:$y$j9T$abc:1::::::\n", "a password of root"),
    ("/etc/shadow-", "root::1::::::\n", "an empty password of root"),
    ("/etc/passwd", "root::0:0::/root:/bin/sh\n", "an empty password of root"),
    ("/etc/passwd-", "root:abc:0:0::/root:/bin/sh\n", "a password of root"),
    ("/etc/gshadow", "root:$y$abc::\n", "a password of root"),
    ("/etc/security/opasswd", "root:1:abc", "former passwords"),
    ("/etc/ssh/ssh_host_ed25519_key", "x", "ssh host key"),
    ("/etc/munge/munge.key", "x", "munge key"),
    ("/etc/slurm/jwt_hs256.key", "x", "key of Slurm"),
    ("/etc/slurm-llnl/slurm.key", "x", "key of Slurm"),
    ("/etc/condor/passwords.d/POOL", "x", "HTCondor"),
    ("/var/lib/condor/pool_password", "x", "HTCondor"),
    ("/etc/condor/tokens.d/t", "x", "token of HTCondor"),
    ("/etc/krb5.keytab", "x", "Kerberos"),
    ("/etc/http.keytab", "x", "Kerberos"),
    ("/etc/grid-security/hostkey.pem", "x", "host certificate's key"),
    ("/root/.ssh/id_rsa", "x", "private ssh key"),
    ("/home/alice/.ssh/id_ed25519", "x", "private ssh key"),
    ("/srv/svc/.ssh/deploy", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "private ssh key"),
    ("/root/.ssh/authorized_keys", "ssh-rsa AAAA stranger\n", "who may log in as root"),
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n", "machine id"),
    ("/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", "machine id"),
    ("/var/lib/systemd/random-seed", "x", "random seed"),
    ("/var/lib/systemd/credential.secret", "x", "secret of one machine"),
    ("/var/lib/cloud/instances/i-1/user-data.txt", "x", "cloud-init"),
    ("/var/lib/cloud/data/instance-id", "x", "cloud-init"),
    ("/var/log/cloud-init-output.log", "x", "cloud-init"),
    ("/root/.bash_history", "x", "shell history"),
    ("/home/alice/.python_history", "x", "shell history"),
    ("/home/alice/.globus/userkey.pem", "x", "private key"),
    ("/var/lib/dhcp/dhclient.eth0.leases", "lease {}", "DHCP lease"),
    ("/var/lib/NetworkManager/internal-1-eth0.lease", "ADDRESS=192.0.2.1", "DHCP lease"),
]


def with_service_user() -> FakeHandle:
    handle = image()
    passwd = handle.read_file("/etc/passwd") + b"svc:x:200:200::/srv/svc:/bin/sh\n"
    handle.put("/etc/passwd", File(passwd, 0o644))
    return handle


@pytest.mark.parametrize(("path", "content", "said"), FINDINGS)
def test_secrets_and_identities_are_found(path: str, content: str, said: str) -> None:
    handle = with_service_user()
    handle.put(path, File(content.encode(), 0o600))
    with pytest.raises(ImageError) as caught:
        check_publishable(handle)
    assert said in caught.value.value
    assert path.split("/i-1")[0] in caught.value.value
    assert caught.value.value.count("(") == 1


@pytest.mark.parametrize("path", [path for path, _content, _said in FINDINGS if "cloud/" not in path])
def test_an_empty_file_holds_nothing(path: str) -> None:
    handle = with_service_user()
    handle.put(path, File(b"", 0o600))
    check_publishable(handle)


def test_what_a_link_leads_to_counts() -> None:
    handle = image()
    handle.put("/etc/shadow", Symlink("../opt/shadow"))
    handle.put("/opt/shadow", File(b"root::1::::::\n", 0o600))
    with pytest.raises(ImageError, match="empty password of root"):
        check_publishable(handle)


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd"])
@pytest.mark.parametrize("node", [SpecialFile(0o10600), Folder(0o755), File(b"x" * (LIMIT + 1), 0o600)])
def test_what_can_not_be_looked_into_is_not_published(path: str, node: Node) -> None:
    handle = image()
    handle.put(path, node)
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    with pytest.raises(ImageError) as caught:
        check_publishable(handle)
    assert f"{path} (no plain file" in caught.value.value
    assert "munge key" in caught.value.value


def test_an_image_made_to_keep_us_busy_is_refused_in_a_few_words() -> None:
    handle = image()
    handle.glob_expand = lambda pattern: [f"/etc/{number}.keytab" for number in range(10**4)] * ("keytab" in pattern)  # type: ignore[method-assign]
    handle.put("/etc/shadow", File(b"".join(b"u%d::\n" % number for number in range(10**4)), 0o600))
    with pytest.raises(ImageError) as caught:
        check_publishable(handle)
    assert "/etc/*.keytab (a Kerberos key table, 10000 times)" in caught.value.value
    assert len(caught.value.value) < 10**6
    homes = "".join(f"u{number}:x:0:0::/srv/{number}:/bin/sh\n" for number in range(10**4))
    handle.put("/etc/passwd", File(homes.encode(), 0o644))
    with pytest.raises(ImageError, match="too many homes"):
        check_publishable(handle)


@pytest.mark.parametrize("home", ["/srv/*", "/srv/{a,b}", "/srv/a b"])
def test_a_home_with_a_strange_name_is_said_and_not_expanded(home: str) -> None:
    handle = image()
    handle.put("/etc/passwd", File(f"root:x:0:0::/root:/bin/sh\nu:x:1:1::{home}:/bin/sh\n".encode(), 0o644))
    with pytest.raises(ImageError) as caught:
        check_publishable(handle)
    assert home in caught.value.value


def test_keys_of_root_that_the_recipe_names_may_stay_and_no_other() -> None:
    handle = image()
    handle.put("/root/.ssh/authorized_keys", File(b"# ours\n\nssh-rsa AAAA us\nssh-rsa BBBB ops\n", 0o600))
    recipe = Recipe(
        ssh_keys=(SshKeys("root", ("ssh-rsa AAAA us\n",)), SshKeys("munge", ("ssh-rsa CCCC x",))),
        files=(FileOp("/root/.ssh/authorized_keys2", "ssh-rsa BBBB ops\n"), FileOp("/root/.ssh/id_x", "ssh-rsa DDDD")),
    )
    assert meant_keys(recipe) == {"ssh-rsa AAAA us", "ssh-rsa BBBB ops"}
    check_publishable(handle, meant_keys(recipe))
    with pytest.raises(ImageError, match="log in as root"):
        check_publishable(handle, meant_keys(Recipe(ssh_keys=(SshKeys("root", ("ssh-rsa AAAA us",)),))))


def test_what_others_do_with_keys_is_their_business() -> None:
    handle = with_service_user()
    handle.put("/srv/svc/.ssh/authorized_keys", File(b"ssh-rsa AAAA us\n", 0o600))
    handle.put("/srv/svc/.ssh/id_rsa.pub", File(b"ssh-rsa AAAA us\n", 0o600))
    check_publishable(handle)


def test_all_findings_come_at_once() -> None:
    handle = image()
    handle.put("/etc/munge/munge.key", File(b"x", 0o400))
    handle.put("/etc/machine-id", File(b"x", 0o444))
    with pytest.raises(ImageError) as caught:
        check_publishable(handle)
    assert caught.value.value.count("(") == 2


@pytest.mark.parametrize("content", [b"", b"uninitialized\n"])
def test_a_machine_id_that_says_nothing_passes(content: bytes) -> None:
    handle = image()
    handle.put("/etc/machine-id", File(content, 0o444))
    check_publishable(handle)


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
