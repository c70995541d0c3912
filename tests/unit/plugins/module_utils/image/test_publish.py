# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published means: complete under its digest, read-only, the tag pointing to it; once is enough."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.module_utils.image.image_fixture import FakeTools, qcow2, raw
from wnodes.image.manifest import read_release
from wnodes.image.publish import Published, Target, publish, republish
from wnodes.model.clock import FakeClock
from wnodes.model.errors import ImageError, RequestError

TAG = "worker_debian12_x86_64"


@pytest.fixture
def parts(tmp_path: Path) -> tuple[str, str, str]:
    for name, content in (("disk", qcow2(3 << 30) + b"data"), ("kernel", b"k"), ("initrd", b"i")):
        (tmp_path / name).write_bytes(content)
    return str(tmp_path / "disk"), str(tmp_path / "kernel"), str(tmp_path / "initrd")


def target(tmp_path: Path) -> Target:
    return Target(str(tmp_path / "images"), (TAG,), "root=/dev/vda")


CLOCK = FakeClock(1_700_000_000.0)


def put(tmp_path: Path, parts: tuple[str, str, str], check: bool = False, **more: Any) -> Published:
    disk, kernel, initrd = parts
    return publish(disk, "qcow2", kernel, initrd, replace(target(tmp_path), **more), check=check, clock=CLOCK)


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_published_image_is_whole_and_read_back_as_the_model_s_image(
    tmp_path: Path, parts: tuple[str, str, str]
) -> None:
    done = put(tmp_path, parts)
    folder = tmp_path / "images" / sha256(parts[0])
    assert done.changed
    assert done.path == str(folder)
    assert sorted(os.listdir(folder)) == ["disk.qcow2", "initrd", "manifest.json", "vmlinuz"]
    assert {oct((folder / name).stat().st_mode & 0o777) for name in ("disk.qcow2", "vmlinuz", "initrd")} == {"0o444"}

    release = read_release(str(tmp_path / "images" / TAG))
    image = release.claims().image(release.location)
    assert release.claims().tags == (TAG,)
    assert image.digest == image.disk.digest == sha256(parts[0])
    assert image.kernel.digest == sha256(parts[1]) == sha256(image.kernel.location)
    assert image.initrd.digest == sha256(image.initrd.location)
    assert image.virtual_size == 3 << 30
    assert image.size == os.path.getsize(parts[0])
    assert image.format == "qcow2"


def test_the_manifest_holds_what_others_rely_on(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    data = json.loads((Path(put(tmp_path, parts).path) / "manifest.json").read_text())
    assert data == {
        "version": 20231114221320,
        "created": 1_700_000_000,
        "expires": 0,
        "format": "qcow2",
        "virtual_size": 3 << 30,
        "size": os.path.getsize(parts[0]),
        "kernel": {"path": "vmlinuz", "digest": sha256(parts[1])},
        "initrd": {"path": "initrd", "digest": sha256(parts[2])},
        "disk": {"path": "disk.qcow2", "digest": sha256(parts[0])},
        "root_device": "/dev/vda",
        "cmdline": "root=/dev/vda",
        "tags": [TAG],
        "allowed": {"users": [], "groups": [], "vos": []},
        "properties": {},
    }


def test_the_same_again_changes_nothing_and_leaves_nothing_behind(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    first = put(tmp_path, parts)
    for check in (True, False):
        again = put(tmp_path, parts, check)
        assert not again.changed
        assert again.manifest == first.manifest
    assert sorted(os.listdir(tmp_path / "images")) == sorted([first.manifest.digest, TAG])


def test_check_mode_foretells_and_writes_nothing(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    foretold = put(tmp_path, parts, check=True)
    assert foretold.changed
    assert not (tmp_path / "images").exists()
    assert put(tmp_path, parts) == foretold


def test_another_command_line_replaces_the_manifest_only(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    first = put(tmp_path, parts)
    disk = Path(first.path) / "disk.qcow2"
    inode = disk.stat().st_ino
    assert put(tmp_path, parts, check=True, cmdline="quiet").changed
    assert put(tmp_path, parts, cmdline="quiet").changed
    assert read_release(first.path).claims().cmdline == "quiet"
    assert disk.stat().st_ino == inode


def test_a_new_image_takes_the_tag_and_the_old_one_stays(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    first = put(tmp_path, parts)
    Path(parts[0]).write_bytes(qcow2(4 << 30))
    second = put(tmp_path, parts)
    assert os.readlink(tmp_path / "images" / TAG) == second.manifest.digest
    assert Path(first.path).is_dir()


def test_a_raw_disk_is_published_as_qcow2(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    done = publish(raw(tmp_path), "raw", parts[1], parts[2], target(tmp_path), tools=FakeTools())
    assert done.manifest.format == "qcow2"
    assert done.manifest.virtual_size == 1 << 20


def test_what_fails_leaves_no_trace(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    os.unlink(parts[2])
    with pytest.raises(ImageError, match="can't be written"):
        put(tmp_path, parts)
    assert os.listdir(tmp_path / "images") == []


def test_bad_tags_folders_and_images_are_refused(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    with pytest.raises(RequestError):
        Target(str(tmp_path), ("../x",), "")
    with pytest.raises(ImageError, match="absolute"):
        Target("images", (TAG,), "")
    with pytest.raises(ImageError, match="labelled qcow2"):
        publish(parts[1], "qcow2", parts[1], parts[2], target(tmp_path))


def test_what_a_dead_publisher_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, parts: tuple[str, str, str]
) -> None:
    for name, age in ((".incoming-dead", 2 * 86400), (".incoming-living", 60)):
        (tmp_path / "images" / name).mkdir(parents=True)
        then = time.time() - age
        os.utime(tmp_path / "images" / name, (then, then))
    put(tmp_path, parts)
    assert [name for name in os.listdir(tmp_path / "images") if name.startswith(".")] == [".incoming-living"]


@dataclass(frozen=True)
class FakeSigner:
    ends: int = 1 << 40

    def until(self) -> int:
        return self.ends

    def sign(self, text: str) -> str:
        return f"signed {len(text)}"


SIGNED: dict[str, Any] = {"signer": FakeSigner(), "valid_days": 30}


def test_what_is_signed_is_signed_to_the_letter_and_tells_when_it_ends(
    tmp_path: Path, parts: tuple[str, str, str]
) -> None:
    done = put(tmp_path, parts, **SIGNED)
    release = read_release(done.path)
    assert release.signature == FakeSigner().sign(release.manifest)
    assert release.claims().expires == 1_700_000_000 + 30 * 86400
    assert not put(tmp_path, parts, **SIGNED).changed


def test_an_unsigned_image_is_signed_later_and_gets_a_higher_version(
    tmp_path: Path, parts: tuple[str, str, str]
) -> None:
    first = put(tmp_path, parts)
    later = put(tmp_path, parts, **SIGNED)
    assert later.changed
    assert later.manifest.version > first.manifest.version
    assert put(tmp_path, parts).changed
    assert read_release(first.path).signature == ""


def test_a_signature_is_renewed_when_a_third_of_its_time_is_left(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    disk, kernel, initrd = parts
    wanted = replace(target(tmp_path), **SIGNED)
    clock = FakeClock(1_700_000_000.0)
    first = publish(disk, "qcow2", kernel, initrd, wanted, clock=clock)
    clock.advance(19 * 86400)
    assert not publish(disk, "qcow2", kernel, initrd, wanted, clock=clock).changed
    clock.advance(2 * 86400)
    again = publish(disk, "qcow2", kernel, initrd, wanted, clock=clock)
    assert again.changed
    assert (again.path, again.manifest.expires) == (first.path, int(clock.now()) + 30 * 86400)


def test_an_image_published_again_after_another_is_stated_anew(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    content = Path(parts[0]).read_bytes()
    first = put(tmp_path, parts, **SIGNED)
    Path(parts[0]).write_bytes(qcow2(4 << 30))
    second = put(tmp_path, parts, **SIGNED)
    Path(parts[0]).write_bytes(content)
    again = put(tmp_path, parts, **SIGNED)
    assert (again.changed, again.path) == (True, first.path)
    assert again.manifest.version > second.manifest.version


def test_no_statement_outlives_its_signer_and_a_later_certificate_gives_it_more(
    tmp_path: Path, parts: tuple[str, str, str]
) -> None:
    soon = {"signer": FakeSigner(1_700_000_000 + 5 * 86400)}
    assert put(tmp_path, parts, valid_days=30, **soon).manifest.expires == 1_700_000_000 + 5 * 86400
    assert not put(tmp_path, parts, valid_days=30, **soon).changed
    assert put(tmp_path, parts, **SIGNED).manifest.expires == 1_700_000_000 + 30 * 86400
    assert put(tmp_path, parts, valid_days=0, **soon).manifest.expires == 1_700_000_000 + 5 * 86400


def test_an_older_image_comes_back_by_being_stated_anew(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    first = put(tmp_path, parts, **SIGNED)
    Path(parts[0]).write_bytes(qcow2(4 << 30))
    second = put(tmp_path, parts, **SIGNED)
    back = republish(first.path, replace(target(tmp_path), **SIGNED), clock=CLOCK)
    assert back.manifest.version > second.manifest.version > first.manifest.version
    assert replace(back.manifest, version=0) == replace(first.manifest, version=0)
    release = read_release(str(tmp_path / "images" / TAG))
    assert (release.location, release.claims()) == (first.path, back.manifest)
    assert release.signature == FakeSigner().sign(release.manifest)
