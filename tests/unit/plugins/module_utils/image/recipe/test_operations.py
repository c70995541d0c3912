# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations refuse what can't be meant, before any image is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wnodes.image.recipe.operations import (
    CommandOp,
    Dns,
    EditOp,
    FileOp,
    GroupOp,
    KernelModules,
    Recipe,
    RemoteSyslog,
    ScriptOp,
    SshKeys,
    Units,
    UserOp,
    check_path,
)
from wnodes.model.codec import decode, encode
from wnodes.model.errors import ImageError


@pytest.mark.parametrize("path", ["", "/", "etc/motd", "/etc/../root", "/etc//motd", "/etc/", "//etc", "/a\0b", "."])
def test_a_path_outside_the_image_is_refused(path: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_path(path, "files")
    assert caught.value.object == "files"
    assert caught.value.value == repr(path)


@given(st.text())
def test_what_passes_as_a_path_is_absolute_and_has_no_parent_in_it(path: str) -> None:
    try:
        check_path(path, "files")
    except ImageError:
        return
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/"))


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        (FileOp, {"path": "/a"}, "/a"),
        (FileOp, {"path": "/a", "content": "x", "source": "/b"}, "/a"),
        (FileOp, {"path": "/a", "content": "x", "mode": "rw"}, "mode"),
        (FileOp, {"path": "/a", "content": "x", "mode": "0999"}, "mode"),
        (EditOp, {"path": "/a", "regexp": "x"}, "/a"),
        (EditOp, {"path": "/a", "regexp": "(", "line": "x"}, "regexp"),
        (CommandOp, {}, "commands"),
        (CommandOp, {"argv": ("a",), "shell": "b"}, "commands"),
        (CommandOp, {"shell": "b", "creates": "relative"}, "creates"),
        (KernelModules, {"load": ("a b",)}, "kernel_modules"),
        (KernelModules, {"options": {"kvm": "a\nb"}}, "kvm"),
        (RemoteSyslog, {"host": "a; rm"}, "host"),
        (RemoteSyslog, {"host": "a", "port": 0}, "port"),
        (RemoteSyslog, {"host": "a", "protocol": "icmp"}, "protocol"),
        (SshKeys, {"user": "u", "keys": ("notakey",)}, "ssh_keys of u"),
        (SshKeys, {"user": "u", "keys": ("ssh-rsa AA\nssh-rsa BB",)}, "ssh_keys of u"),
        (Units, {"enable": ("munge",)}, "units"),
        (Units, {"enable": ("a.service",), "mask": ("a.service",)}, "units"),
        (Dns, {"servers": ()}, "dns: servers"),
        (Dns, {"servers": ("ns.example.org",)}, "dns: servers"),
        (Dns, {"servers": ("192.0.2.1",), "search": ("a\nb",)}, "dns: search"),
        (GroupOp, {"name": "a:b"}, "groups"),
        (GroupOp, {"name": "a", "gid": -1}, "groups a: gid"),
        (UserOp, {"name": "../a"}, "users"),
        (UserOp, {"name": "a", "uid": 65535}, "users a: uid"),
        (UserOp, {"name": "a", "uid": 2**32 - 1}, "users a: uid"),
        (UserOp, {"name": "a", "home": "home"}, "users a: home"),
        (UserOp, {"name": "a", "home": "/a:b"}, "users a: home"),
        (UserOp, {"name": "a", "shell": "/a\nb"}, "users a: shell"),
        (UserOp, {"name": "a", "comment": "a:b"}, "users a: comment"),
        (ScriptOp, {"name": "../a", "content": "#!/bin/sh\n"}, "scripts"),
        (ScriptOp, {"name": "a", "content": "echo\n"}, "scripts a"),
        (Recipe, {"packages": ("-o=x",)}, "packages"),
        (Recipe, {"packages_absent": ("a b",)}, "packages"),
        (Recipe, {"packages": ("a",), "packages_absent": ("a",)}, "packages"),
        (Recipe, {"upgrade": True}, "upgrade"),
        (Recipe, {"timezone": "../../etc/shadow"}, "timezone"),
        (Recipe, {"users": (UserOp("a"), UserOp("a"))}, "users"),
        (Recipe, {"groups": (GroupOp("a"), GroupOp("a"))}, "groups"),
        (Recipe, {"scripts": (ScriptOp("a", "#!/a"), ScriptOp("a", "#!/b"))}, "scripts"),
        (Recipe, {"files": (FileOp("/a", "1"), FileOp("/a", "2"))}, "files"),
        (Recipe, {"files": (FileOp("/a/b", "1"),), "delete": ("/a",)}, "delete"),
        (Recipe, {"delete": ("/etc/..",)}, "delete"),
    ],
)
def test_nonsense_is_refused_and_named(kind: Any, values: dict[str, Any], named: str) -> None:
    with pytest.raises(ImageError) as caught:
        kind(**values)
    assert named in caught.value.object


def test_a_recipe_survives_plain_data() -> None:
    recipe = Recipe(
        files=(FileOp("/etc/motd", "hello\n"),),
        commands=(CommandOp(argv=("true",)),),
        kernel_modules=KernelModules(options={"kvm": "nested=0"}),
        remote_syslog=RemoteSyslog("logs.example.org"),
        units=Units(mask=("a.timer",)),
        users=(UserOp("a", groups=("b",)),),
        dns=Dns(("192.0.2.1",)),
        timezone="UTC",
    )
    assert decode(Recipe, encode(recipe)) == recipe


def test_a_source_is_read_when_it_is_needed_and_its_absence_said(tmp_path: Path) -> None:
    op = FileOp("/a", source=str(tmp_path / "file"))
    with pytest.raises(ImageError, match="can't be read"):
        op.data()
    (tmp_path / "file").write_bytes(b"\0\1")
    assert op.data() == b"\0\1"


@pytest.mark.parametrize(
    ("edit", "before", "after"),
    [
        (EditOp("/f", "^a", line="a=2"), "a=1\nb=1\n", "a=2\nb=1\n"),
        (EditOp("/f", "^a", line="a=2"), "a=0\na=1\n", "a=0\na=2\n"),
        (EditOp("/f", "^c", line="c=1"), "a=1\n", "a=1\nc=1\n"),
        (EditOp("/f", "^c", line="c=1"), "", "c=1\n"),
        (EditOp("/f", r"^#?(Port) .*$", replacement=r"\1 22"), "#Port 1\nPort 2\n", "Port 22\nPort 22\n"),
        (EditOp("/f", "absent", replacement="x"), "a\n", "a\n"),
    ],
)
def test_edits(edit: EditOp, before: str, after: str) -> None:
    assert edit.edit(before) == after
    assert edit.edit(after) == after


def test_an_edit_that_never_settles_is_refused() -> None:
    with pytest.raises(ImageError, match="on every run"):
        EditOp("/f", "a", replacement="aa").edit("a")


def test_a_bad_back_reference_is_named() -> None:
    with pytest.raises(ImageError) as caught:
        EditOp("/f", "a", replacement=r"\1").edit("a")
    assert "replacement" in caught.value.object
