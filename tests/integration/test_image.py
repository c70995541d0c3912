# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image module on real libguestfs: every operation, check mode, repetition, failure, publication."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.image_run import command, digest, run
from wnodes.image.cache import ImageCache
from wnodes.image.header import check_header
from wnodes.image.manifest import read_release

TAG = "worker_debian12_x86_64"
OPERATIONS: dict[str, Any] = {
    "files": [
        {"path": "/etc/motd", "content": "hello\n"},
        {"path": "/opt/a/b", "content": "x" * (2 << 20), "mode": "0750", "owner": "munge", "group": "7"},
    ],
    "edits": [{"path": "/etc/nsswitch.conf", "regexp": "^passwd:", "line": "passwd: files extrausers"}],
    "commands": [
        {"argv": ["/bin/sh", "-c", "cat /etc/motd >/opt/from-argv"], "creates": "/opt/from-argv"},
        {"shell": "test ! -e /sys/class/net/eth0 && id -u >/opt/from-shell", "creates": "/opt/from-shell"},
    ],
    "packages": ["busybox"],
    "kernel_modules": {"load": ["tun"], "blacklist": ["floppy"]},
    "remote_syslog": {"host": "logs.example.org"},
    "groups": [{"name": "atlas", "gid": 5000}],
    "users": [{"name": "ops", "group": "atlas"}, {"name": "condor", "system": True}],
    "timezone": "Europe/Rome",
    "dns": {"servers": ["192.0.2.53"], "search": ["example.org"]},
    "scripts": [{"name": "site", "content": "#!/bin/sh\nread zone </etc/timezone; echo $zone >>/opt/from-script\n"}],
    "packages_absent": ["telnet"],
    "ssh_keys": [{"user": "ops", "keys": ["ssh-ed25519 AAAA me"]}],
    "units": {"enable": ["munge.service"], "disable": ["slurmd.service"], "mask": ["getty@tty1.service"]},
    "delete": ["/root/old"],
}
TREE = {
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Small"\n',
    "etc/debian_version": "12.0\n",
    "etc/fstab": "",
    "etc/machine-id": "",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nmunge:x:101:102::/:/bin/false\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:*:1::::::\n",
    "etc/nsswitch.conf": "passwd: files\n",
    "etc/systemd/system/multi-user.target.wants/.keep": "",
    "usr/lib/systemd/system/munge.service": "[Install]\nWantedBy=multi-user.target\n",
    "usr/bin/apt-get": "",
    "var/lib/dpkg/status": "Package: busybox\nStatus: install ok installed\n",
    "boot/vmlinuz-6.1.0-1-cloud-amd64": "kernel",
    "boot/initrd.img-6.1.0-1-cloud-amd64": "initrd",
    "root/old/file": "old",
    "usr/share/zoneinfo/Europe/Rome": "TZif2",
}


def inside(disk: Path, path: str) -> str:
    """Return a file of an unpartitioned raw image, read without libguestfs."""
    return command("debugfs", "-R", f"cat {path}", str(disk))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system just large enough to be recognised, with a shell that runs."""
    folder = tmp_path_factory.mktemp("tree")
    for name, content in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "usr/bin/apt-get").chmod(0o755)
    for name in ("proc", "sys", "dev", "tmp", "bin", "lib"):
        (folder / name).mkdir(exist_ok=True)
    for program in ("/bin/dash", "/bin/cat", "/usr/bin/id", "/usr/bin/env"):
        shutil.copy(program, folder / "bin")
        for word in command("ldd", program).split():
            if word.startswith("/"):
                (folder / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, folder / word[1:])
    (folder / "bin" / "sh").symlink_to("dash")
    return folder


@pytest.fixture(scope="session")
def base(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.raw"
    command("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(path), "64M")
    return path


def test_the_whole_life_of_an_image(base: Path, tmp_path: Path) -> None:
    disk, images = tmp_path / "disk.raw", tmp_path / "images"
    options = {"base": str(base), "format": "raw", "publish_to": str(images), "tags": [TAG], **OPERATIONS}
    untouched = digest(base)

    foretold = run(disk, check=True, **options)
    assert foretold["changed"]
    assert digest(base) == untouched
    assert sorted(os.listdir(tmp_path)) == []

    done = run(disk, **options)
    assert done["diff"] == foretold["diff"]
    assert done["actions"][:-1] == foretold["actions"]
    assert digest(base) == untouched
    assert inside(disk, "/etc/motd") == inside(disk, "/opt/from-argv") == "hello\n"
    assert inside(disk, "/opt/from-shell") == "0\n"
    assert inside(disk, "/etc/nsswitch.conf") == "passwd: files extrausers\n"
    assert inside(disk, "/etc/modules-load.d/wnodes.conf") == "tun\n"
    assert "send-journal logs.example.org 514 tcp" in inside(disk, "/etc/systemd/system/wnodes-syslog.service")
    assert inside(disk, "/opt/from-script") == "Europe/Rome\n"
    assert "ops:x:1000:5000::/home/ops:/bin/sh\ncondor:x:999:999:" in inside(disk, "/etc/passwd")
    assert "ops:!::0:99999:7:::\n" in inside(disk, "/etc/shadow")
    assert inside(disk, "/home/ops/.ssh/authorized_keys") == "ssh-ed25519 AAAA me\n"
    status = command("debugfs", "-R", "stat /opt/a/b", str(disk))
    assert "Mode:  0750" in status
    assert "User:   101   Group:     7" in status
    links = command("debugfs", "-R", "ls -l /etc/systemd/system/multi-user.target.wants", str(disk))
    assert "munge.service" in links
    assert "old" not in command("debugfs", "-R", "ls /root", str(disk))

    before = digest(disk)
    for check in (False, True):
        again = run(disk, check=check, **options)
        assert (again["changed"], again["actions"], again["diff"]) == (False, [], [])
        assert digest(disk) == before

    release = read_release(str(images / TAG))
    image = release.claims().image(release.location)
    assert release.claims().tags == (TAG,)
    assert image.virtual_size == 64 << 20
    cached = ImageCache(str(tmp_path / "cache")).ensure(image)
    assert Path(cached.kernel).read_text() == "kernel"
    assert check_header(cached.disk, "qcow2").virtual_size == 64 << 20
    command("qemu-img", "check", "-q", "-f", "qcow2", cached.disk)


def test_what_fails_leaves_the_image_as_it_was(base: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    shutil.copy(base, disk)
    before = digest(disk)
    failed = run(
        disk,
        format="raw",
        files=[{"path": "/etc/motd", "content": "half done\n"}],
        commands=[{"shell": "echo why it failed >&2; exit 3"}],
    )
    assert failed["failed"]
    assert "why it failed" in failed["msg"]
    assert digest(disk) == before
    assert os.listdir(tmp_path) == ["disk.raw"]


def test_a_partitioned_qcow2_is_inspected_and_a_secret_in_it_not_published(tree: Path, tmp_path: Path) -> None:
    raw, disk = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    with raw.open("wb") as stream:
        stream.truncate(80 << 20)
    subprocess.run(
        ["sfdisk", "-q", str(raw)], input="start=2048, type=83\n", check=True, capture_output=True, text=True
    )
    command("mke2fs", "-q", "-t", "ext4", "-E", "offset=1048576", "-d", str(tree), str(raw), "64M")
    command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk))
    before = digest(disk)

    key = [{"path": "/etc/munge/munge.key", "content": "secret", "mode": "0400"}]
    refused = run(disk, files=key, publish_to=str(tmp_path / "images"), tags=[TAG])
    assert "munge key" in refused["error"]["value"]
    assert digest(disk) == before
    assert not (tmp_path / "images").exists()

    refused = run(disk, publish_to=str(tmp_path / "images"), tags=[TAG], cmdline="root=/dev/vda rw")
    assert "the root file system is on /dev/vda1" in refused["msg"]
    motd = [{"path": "/etc/motd", "content": "hello\n"}]
    done = run(disk, files=motd, publish_to=str(tmp_path / "images"), tags=[TAG])
    assert done["changed"]
    assert done["published"]["manifest"]["root_device"] == "/dev/vda1"
    assert done["published"]["manifest"]["cmdline"] == "console=ttyS0 rw root=/dev/vda1"
    assert check_header(str(disk), "qcow2").virtual_size == 80 << 20
    command("qemu-img", "check", "-q", "-f", "qcow2", str(disk))
    command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw))
    assert inside(Path(f"{raw}?offset=1048576"), "/etc/motd") == "hello\n"


def test_an_image_that_names_a_file_of_the_host_is_not_opened(tmp_path: Path) -> None:
    secret, disk = tmp_path / "secret", tmp_path / "disk.qcow2"
    secret.write_bytes(b"secret".ljust(1 << 20, b"\0"))
    command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(disk))
    accessed = secret.stat().st_atime_ns
    refused = run(disk, files=[{"path": "/a", "content": ""}])
    assert "backing file" in refused["msg"]
    assert secret.stat().st_atime_ns == accessed


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (["mknod passwd p"], "special file"),
        (["mknod passwd c 1 5"], "special file"),
        (["symlink passwd passwd"], "a link"),
        (["write {latin} passwd", "set_inode_field passwd size 1099511627776"], "too large"),
        (["write {latin} passwd"], "UTF-8"),
        (["symlink group group2", "symlink group2 group"], "a link"),
    ],
)
def test_what_an_image_puts_in_place_of_its_accounts_is_refused_and_named(
    base: Path, tmp_path: Path, make: list[str], said: str
) -> None:
    disk, latin, script = tmp_path / "disk.raw", tmp_path / "latin", tmp_path / "debugfs"
    shutil.copy(base, disk)
    latin.write_bytes(b"root:x:0:0:J\xf6rg:/root:/bin/sh\n")
    file = "group" if "group" in make[-1] else "passwd"
    script.write_text("\n".join(["cd /etc", f"rm {file}", *make]).format(latin=latin))
    command("debugfs", "-w", "-f", str(script), str(disk))
    refused = run(disk, check=True, format="raw", users=[{"name": "ops"}])
    assert refused["error"]["object"] == f"/etc/{file}"
    assert said in refused["msg"]


RPM = 'while IFS= read -r line; do echo "$line"; done </var/lib/rpm/packages\n'
DNF = r"""
for word; do
    case $word in
    makecache) test "${folder#/tmp/}" != "$folder"; echo cached >/tmp/index; exit ;;
    --setopt=cachedir=*) folder=${word#--setopt=cachedir=} ;;
    repoquery) read -r index </tmp/index; while read -r name version; do
        test "$version" = 2 || printf '%s 2\n\n' "$name"; done </var/lib/rpm/packages; exit ;;
    upgrade) echo 'munge 2' >/var/lib/rpm/packages; exit ;;
    install) shift $(($# - 1)); echo "$1 2" >>/var/lib/rpm/packages; exit ;;
    esac
done
exit 9
"""


@pytest.mark.long
def test_a_tree_of_rhel_s_family_is_upgraded_once_as_check_mode_foretold(tree: Path, tmp_path: Path) -> None:
    folder, disk = tmp_path / "tree", tmp_path / "disk.raw"
    shutil.copytree(tree, folder, symlinks=True)
    for name in ("etc/debian_version", "usr/bin/apt-get", "var/lib/dpkg"):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    (folder / "etc/os-release").write_text('ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    (folder / "var/lib/rpm").mkdir(parents=True)
    (folder / "var/lib/rpm/packages").write_text("munge 1\n")
    for name, text in (("rpm", RPM), ("dnf", DNF)):
        (folder / "usr/bin" / name).write_text(f"#!/bin/sh\nset -e\n{text}")
        (folder / "usr/bin" / name).chmod(0o755)
    (folder / "usr/bin/env").unlink(missing_ok=True)
    shutil.move(folder / "bin/env", folder / "usr/bin/env")
    command("mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(disk), "64M")
    before = digest(disk)

    options = {"format": "raw", "network": True, "upgrade": True, "packages": ["slurm"], "timezone": "Europe/Rome"}
    foretold = run(disk, check=True, **options)
    assert foretold["actions"] == ["upgrade munge 1 → 2", "install slurm", "write /etc/localtime"]
    assert digest(disk) == before
    assert run(disk, **options)["diff"] == foretold["diff"]
    assert inside(disk, "/var/lib/rpm/packages") == "munge 2\nslurm 2\n"
    assert not run(disk, **options)["changed"]
