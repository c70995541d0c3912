# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes images``: what it does to the directory, what it says, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.releases import MANIFEST, TAG, release
from tests.unit.roles.runtime.files.wnodes_services.cli.conftest import WELL, Cli, Directory
from wnodes.image.build import Build, BuildResult
from wnodes.image.publish import Published
from wnodes.image.recipe.plan import ImageDifference
from wnodes.model.errors import ImageError
from wnodes.model.image import Manifest, Release, Rollout
from wnodes_services.cli import images, site

OTHER = "other_debian12_x86_64"


class Keyring:
    """Believes what is signed."""

    def verify(self, signed: Release, tag: str) -> tuple[Manifest, str]:
        if not signed.signature:
            raise ImageError(object=f"image of tag {tag}", reason="is not signed")
        return signed.claims(), "builder"


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_keyring", lambda authority: Keyring())


def folder(path: Path, manifest: Manifest = MANIFEST, signature: str = "signed") -> str:
    path.mkdir(exist_ok=True)
    (path / "manifest.json").write_text(release(manifest).manifest)
    (path / "manifest.json.p7s").write_text(signature)
    return str(path)


def test_publishing_points_the_tags_once(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    source = folder(tmp_path / "a")
    code, out, _err = wnodes("images", "publish", source + "/manifest.json")
    assert (code, out.strip()) == (0, f"{TAG} → {MANIFEST.digest}")
    assert directory.tag(TAG).release.location == source
    assert json.loads(wnodes("images", "publish", source, "--json")[1]) == {"changed": False, "tags": []}
    wnodes("images", "publish", source, "--tag", OTHER)
    assert [entry.tag for entry in directory.tags()] == [OTHER, TAG]


def test_an_unsigned_image_is_not_published(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    code, _out, err = wnodes("images", "publish", folder(tmp_path / "a", signature=""))
    assert code == 1
    assert "is not signed" in err
    assert directory.tags() == ()


def test_publishing_for_some_hosts_leaves_the_others_as_they_are(
    wnodes: Cli, directory: Directory, tmp_path: Path
) -> None:
    old, new = folder(tmp_path / "a"), folder(tmp_path / "b", replace(MANIFEST, version=2))
    wnodes.see(WELL, replace(WELL, host="hv2"))
    assert wnodes("images", "publish", new, "--host", "hv1")[0] == 1
    wnodes("images", "publish", old)
    code, _out, err = wnodes("images", "publish", new, "--host", "hv9")
    assert (code, "known hosts: hv1, hv2" in err, directory.tag(TAG).rollout) == (1, True, None)
    wnodes("images", "publish", new, "--host", "hv1", "--host", "hv2")
    rollout = directory.tag(TAG).rollout
    assert rollout is not None
    assert (rollout.hosts, rollout.release.location) == (("hv1", "hv2"), new)
    shown = wnodes("images", "show", TAG)[1]
    assert f"{MANIFEST.digest[:12]} on hv1, hv2" in shown
    assert "signer       builder" in shown


@pytest.mark.parametrize(("text", "said"), [("{", "not a manifest"), (None, "can't be read")])
def test_a_manifest_that_is_wrong(
    wnodes: Cli, directory: Directory, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    code, _out, err = wnodes("images", "publish", str(tmp_path))
    assert code == 1
    assert said in err


def test_a_tag_that_never_was_is_not_found(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    wnodes("images", "publish", folder(tmp_path / "a"))
    code, out, err = wnodes("images", "retire", OTHER)
    assert (code, out) == (1, "")
    assert OTHER in err
    assert TAG in err


def test_a_retired_tag_keeps_its_history(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    wnodes("images", "publish", folder(tmp_path / "a"))
    assert "is retired" in wnodes("images", "retire", TAG)[1]
    assert "unchanged" in wnodes("images", "retire", TAG)[1]
    shown = json.loads(wnodes("images", "show", TAG, "--json")[1])
    assert (shown["now"], [old["digest"] for old in shown["history"]]) == (None, [MANIFEST.digest])
    assert wnodes("images", "show", OTHER)[0] == 1


def test_the_list_tells_how_each_node_has_each_image(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    wnodes("images", "publish", folder(tmp_path / "a"))
    there = {"tag": TAG, "state": "ready", "digest": MANIFEST.digest, "version": 1, "reason": ""}
    wnodes.see(replace(WELL, role="hypervisor", detail={"images": [there]}))
    assert "1/1" in wnodes("images", "list")[1]
    (entry,) = json.loads(wnodes("images", "list", "--json")[1])
    assert entry["nodes"] == {"hv1": there}
    assert "ready" in wnodes("images", "show", TAG)[1]


def test_verify_reads_the_files_and_ends_with_1_where_one_is_damaged(
    wnodes: Cli, directory: Directory, tmp_path: Path
) -> None:
    source = folder(tmp_path / "a")
    wnodes("images", "publish", source)
    code, out, _err = wnodes("images", "verify")
    assert code == 1
    assert "disk.qcow2" in out
    digests = {}
    for name in ("disk.qcow2", "vmlinuz", "initrd"):
        (tmp_path / "a" / name).write_text(name)
        digests[name] = images.catalogue.sha256(f"{source}/{name}")
    good = replace(
        MANIFEST,
        disk=replace(MANIFEST.disk, digest=digests["disk.qcow2"]),
        kernel=replace(MANIFEST.kernel, digest=digests["vmlinuz"]),
        initrd=replace(MANIFEST.initrd, digest=digests["initrd"]),
    )
    folder(tmp_path / "a", good)
    code, out, _err = wnodes("images", "verify", source)
    assert (code, out.strip()) == (0, f"{source}: good, signed by builder")
    (tmp_path / "a" / "initrd").write_text("flipped")
    (result,) = json.loads(wnodes("images", "verify", source, "--json")[1])
    assert "is damaged" in result["error"]


def test_garbage_goes_what_tags_need_stays(wnodes: Cli, directory: Directory, tmp_path: Path) -> None:
    manifests = [
        replace(MANIFEST, version=number, created=number, disk=replace(MANIFEST.disk, digest=f"{number}" * 64))
        for number in range(1, 5)
    ]
    places = [folder(tmp_path / manifest.digest, manifest) for manifest in manifests]
    for place in places[:3]:
        wnodes("images", "publish", place)
    directory.roll_out(TAG, Rollout(release(manifests[3], places[3]), ("hv1",)))
    assert places[0] in wnodes("images", "gc", "--dry-run")[1]
    assert Path(places[0]).is_dir()
    (gone,) = json.loads(wnodes("images", "gc", "--json")[1])["deleted"]
    assert gone["path"] == places[0]
    assert [Path(place).is_dir() for place in places] == [False, True, True, True]
    assert wnodes("images", "gc")[1].strip() == "nothing to delete"
    (tmp_path / TAG).symlink_to(Path(places[1]).name)
    wnodes("images", "gc", "--keep", "0")
    assert Path(places[1]).is_dir()
    (tmp_path / TAG).unlink()
    wnodes("images", "gc", "--keep", "0")
    assert [Path(place).is_dir() for place in places] == [False, False, True, True]


def test_what_was_published_a_moment_ago_waits_for_its_tag(
    wnodes: Cli, directory: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wnodes("images", "publish", folder(tmp_path / "a"))
    fresh = replace(MANIFEST, created=1 << 40, disk=replace(MANIFEST.disk, digest="f" * 64))
    place = folder(tmp_path / fresh.digest, fresh)
    wnodes("images", "gc")
    assert Path(place).is_dir()
    assert site.nameserver() is directory


class Signer:
    def __init__(self, key: str, certificate: str) -> None:
        self.name = f"{key} {certificate}"

    def until(self) -> int:
        return 0

    def sign(self, text: str) -> str:
        return f"{self.name} signed"


KEYS = ("--key", "/key", "--certificate", "/crt")


def test_an_image_gets_other_tags_by_being_signed_anew(
    wnodes: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "Signer", Signer)
    source = folder(tmp_path / "a")
    code, out, _err = wnodes("images", "tag", source, TAG, OTHER, *KEYS, "--json")
    assert code == 0
    assert json.loads(out)["manifest"]["tags"] == [TAG, OTHER]
    found = images.read_release(str(tmp_path / OTHER))
    assert (found.location, found.signature) == (source, "/key /crt signed")


@pytest.mark.parametrize("source", ["disk.raw", "https://images.example.org/disk.raw"])
def test_an_import_passes_gate_and_last_look_and_says_what_to_do_next(
    wnodes: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    builds: list[Build] = []

    def run(build: Build) -> BuildResult:
        builds.append(build)
        Path(build.path).touch()
        return BuildResult(True, ImageDifference(), Published(True, "/images/digest", MANIFEST))

    monkeypatch.setattr(images.Build, "run", run)
    monkeypatch.chdir(tmp_path)
    options = ("--to", str(tmp_path / "images"), "--tag", TAG, "--format", "raw", "--checksum", "a" * 64)
    code, out, _err = wnodes("images", "import", source, *options, *KEYS)
    assert (code, out.strip()) == (0, "/images/digest: now `wnodes images publish /images/digest`")
    (build,) = builds
    assert build.base == (source if "://" in source else str(tmp_path / source))
    assert (build.format, build.checksum) == ("raw", "a" * 64)
    assert build.target is not None
    assert build.target.signer == images.Signer("/key", "/crt")
    assert list((tmp_path / "images").iterdir()) == []
