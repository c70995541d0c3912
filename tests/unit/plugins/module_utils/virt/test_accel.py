# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM is believed when a kernel booted with it, and asked again when anything about it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from wnodes.model.errors import CommandFailed
from wnodes.process import Completed
from wnodes.virt.accel import AccelProbe


class Qemu:
    """Stands in for the process; ``answer`` is what booting gives."""

    def __init__(self, answer: Completed | CommandFailed) -> None:
        self.answer, self.version, self.boots = answer, "QEMU emulator version 7.2.22", 0

    def run(self, argv: list[str], **_options: object) -> Completed:
        if argv[1:] == ["--version"]:
            return Completed(argv, 0, f"{self.version}\nCopyright\n", "")
        self.boots += 1
        if isinstance(self.answer, CommandFailed):
            raise self.answer
        return self.answer


BOOTED = Completed((), 0, "[0.0] Linux version 6.1.0-1-cloud\nKernel panic - not syncing: VFS\n", "")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "kvm").touch()
    (tmp_path / "boot_id").write_text("boot-1\n")
    return tmp_path


def probe(host: Path, qemu: Qemu, busy: float = 1.0) -> AccelProbe:
    cache = str(host / "cache" / "accel.json")
    return AccelProbe(cache, qemu.run, str(host / "kvm"), str(host / "boot_id"), 20.0, lambda: busy)


def test_a_busy_host_is_given_time_and_what_took_longer_is_tried_again(host: Path) -> None:
    limits = []

    class Slow(Qemu):
        def run(self, argv: list[str], **options: object) -> Completed:
            if "-kernel" in argv:
                limits.append(options["timeout"])
            return super().run(argv, **options)

    slow = Slow(CommandFailed(object="qemu", reason="did not end within 60 s"))
    assert probe(host, slow, 3.0).probe("/vmlinuz", "k1").name == "qemu"
    assert probe(host, Qemu(BOOTED), 3.0).probe("/vmlinuz", "k1").name == "kvm"
    assert probe(host, slow, 3.0).probe("/vmlinuz", "k1").name == "kvm"
    assert limits == [60.0]
    refused = Qemu(Completed((), 1, "", "Permission denied"))
    assert [probe(host, refused, 3.0).probe("/vmlinuz", "k2").name for _ in range(2)] == ["qemu", "qemu"]
    assert refused.boots == 1


def test_a_kernel_that_boots_proves_kvm(host: Path) -> None:
    qemu = Qemu(BOOTED)
    assert probe(host, qemu).probe("/vmlinuz", "k1").name == "kvm"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (CommandFailed(object="qemu", reason="did not end within 20 s"), "did not end within 20 s"),
        (Completed((), 1, "", "failed to initialize kvm: Permission denied"), "Permission denied"),
        (Completed((), 0, "SeaBIOS\n", ""), "did not boot"),
    ],
)
def test_anything_else_is_tcg_and_says_why(
    host: Path, answer: Completed | CommandFailed, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = probe(host, Qemu(answer)).probe("/vmlinuz", "k1")
    assert found.name == "qemu"
    assert why in found.why
    assert why in caplog.text


def test_without_the_device_nothing_is_booted(host: Path) -> None:
    (host / "kvm").unlink()
    qemu = Qemu(BOOTED)
    assert probe(host, qemu).probe("/vmlinuz", "k1").name == "qemu"
    assert qemu.boots == 0


def test_the_answer_is_remembered_for_kernel_qemu_and_boot(host: Path) -> None:
    qemu = Qemu(BOOTED)

    def boots(digest: str = "k1") -> int:
        probe(host, qemu).probe("/vmlinuz", digest)
        return qemu.boots

    assert [boots(), boots(), boots("k2"), boots(), boots("k2")] == [1, 1, 2, 2, 2]
    qemu.version = "QEMU emulator version 9.0"
    assert boots() == 3
    (host / "boot_id").write_text("boot-2\n")
    assert boots() == 4
    assert "boot-1" not in (host / "cache" / "accel.json").read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"k1 QEMU emulator version 7.2.22 boot-1": {}}'])
def test_a_damaged_memory_is_no_memory(host: Path, content: str) -> None:
    (host / "cache").mkdir()
    (host / "cache" / "accel.json").write_text(content)
    assert probe(host, Qemu(BOOTED)).probe("/vmlinuz", "k1").name == "kvm"


def test_what_is_known_since_this_boot_is_told_without_another_try(host: Path) -> None:
    qemu = Qemu(BOOTED)
    assert probe(host, qemu).known() == ()
    found = probe(host, qemu).probe("/vmlinuz", "k1")
    assert (probe(host, qemu).known(), qemu.boots) == ((found,), 1)
    (host / "boot_id").write_text("boot-2\n")
    assert probe(host, qemu).known() == ()
