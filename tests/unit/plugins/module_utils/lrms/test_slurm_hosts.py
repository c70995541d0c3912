# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs as nodes of Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.plugins.module_utils.lrms.slurm_fixture import Particular, Played, slurm
from tests.unit.plugins.module_utils.lrms.test_slurm_text import row
from wnodes.lrms import slurm_hosts
from wnodes.lrms.base import HostState, WorkerNode
from wnodes.model.errors import CommandFailed, LrmsError
from wnodes.model.resources import Resources
from wnodes.model.vm import GuestFile
from wnodes.process import Completed


def test_an_offered_vm_has_its_own_feature_and_comes_before_the_nodes() -> None:
    played = Played(scontrol_show_config="SlurmctldHost[0] = head\n")
    setup = slurm(played, munge_key="").guest_setup(
        WorkerNode("vwn-1", "10.0.0.9", Resources(1, 512), "a_b_c", offered=True, key="k1")
    )
    assert "Feature=wndirect,vm_a_b_c,wnid_k1 NodeAddr=10.0.0.9 Weight=1" in setup.files[0].content


def test_a_host_rehearses_once_in_its_own_reservation() -> None:
    played = Played(sbatch="14\n")
    backend = slurm(played)
    assert backend.rehearsed("abc", "vwn-1") is False
    assert {"--nodelist=vwn-1", "--reservation=wn_vwn-1", "--partition=wnvm"} <= set(played.calls[-1])
    for state, over in (("PENDING", False), ("RUNNING", False), ("COMPLETED", True)):
        played.answers["squeue"] = f"{state}\n"
        assert backend.rehearsed("abc", "vwn-1") is over
    assert [call[0] for call in played.calls].count("sbatch") == 1
    played.answers["squeue"] = "FAILED\n"
    with pytest.raises(LrmsError, match="could not run a job"):
        backend.rehearsed("abc", "vwn-1")


def test_a_host_that_slurm_does_not_know_is_absent() -> None:
    assert slurm(Played(scontrol_show="error: Node vwn-100 not found")).host("vwn-100") is HostState.ABSENT


@pytest.mark.parametrize(("features", "removed"), [("wnvm,wnid_k1", True), ("wnvm,wnid_k12", False), ("(null)", False)])
def test_a_host_of_which_the_key_is_told_is_removed_only_if_it_is_that_vm(features: str, removed: bool) -> None:
    played = Played(scontrol_show=f"NodeName=vwn-1 AvailableFeatures={features} State=IDLE\n")
    slurm(played).remove_host("vwn-1", "k1")
    assert any("delete NodeName=vwn-1" in call for call in played.said()) is removed


def test_the_guest_gets_key_account_and_its_own_node_definition(tmp_path: Path) -> None:
    key = tmp_path / "munge.key"
    key.write_bytes(b"\x00\x01secret")
    played = Played(scontrol_show_config="SlurmctldHost[0] = head(10.0.0.1)\nSlurmctldPort  = 6817\n")
    host = WorkerNode("vwn-100", "10.0.0.9", Resources(2, 700, 1024), "a_b_c", key="k1")
    setup = slurm(played, munge_key=str(key)).guest_setup(host)
    files = {file.path: file for file in setup.files}
    assert "--conf-server 10.0.0.1:6817" in files["/etc/default/slurmd"].content
    assert "RealMemory=700 TmpDisk=1024 Feature=wnvm,vm_a_b_c,wnid_k1 NodeAddr=10.0.0.9" in (
        files["/etc/default/slurmd"].content
    )
    secret = files["/etc/munge/munge.key"]
    assert (secret.content.encode("latin-1"), secret.mode, secret.owner) == (b"\x00\x01secret", 0o600, "munge")
    accounts = {file.path: file for file in slurm(played).accounts("root")}
    assert accounts["/var/lib/extrausers/passwd"].content.splitlines()[-1].startswith("root:x:0:0:")
    assert slurm(played, guest_accounts=False).accounts("root") == ()


def test_a_vm_offers_what_its_node_does_so_that_what_matched_that_matches_it() -> None:
    played = Played(
        scontrol_show_config="SlurmctldHost[0] = head\n", scontrol_show="AvailableFeatures=bait,ssd,vm_a,vm_b\n"
    )
    backend = slurm(played, munge_key="")
    setup = backend.guest_setup(WorkerNode("vwn-1", "10.0.0.9", Resources(1, 512), "a", key="k1"))
    assert "Feature=wnvm,vm_a,wnid_k1,bait,ssd " in setup.files[0].content


def test_a_host_whose_job_runs_is_closed_by_its_reservation_and_an_offered_one_by_a_drain() -> None:
    played = Played()
    slurm(played).close_host("vwn-1")
    assert played.said() == ["scontrol update ReservationName=wn_vwn-1 Users=root"]
    offered = Particular("ReservationName", "slurm_update error: Requested reservation is invalid")
    slurm(offered).close_host("vwn-1")
    assert offered.said()[1] == "scontrol update NodeName=vwn-1 State=DRAIN Reason=wnodes: one job only"


def test_a_host_is_drained_where_slurm_does_not_let_go_of_the_user_of_a_job_that_runs() -> None:
    newer = Particular("ReservationName", "slurm_update error: Requested reservation is in use")
    slurm(newer).close_host("vwn-1")
    assert newer.said()[1] == "scontrol update NodeName=vwn-1 State=DRAIN Reason=wnodes: one job only"


class InUse(Played):
    """Refuses to delete a reservation until somebody was cancelled."""

    def __call__(self, argv: Sequence[str], **options: object) -> Completed:
        done = super().__call__(argv, **options)
        cancelled = any(call[0] == "scancel" for call in self.calls)
        if argv[:2] == ("scontrol", "delete") and argv[2].startswith("Res") and not cancelled:
            raise CommandFailed(object="scontrol", value="delete", reason="Requested reservation is in use")
        return done


def test_whoever_squats_in_a_vms_reservation_does_not_keep_the_vm() -> None:
    played = InUse(squeue=row(JobArrayID="9", JobID="9", prioritylong="0", Reservation="wn_vwn-1"))
    slurm(played).remove_host("vwn-1")
    assert "scancel 9" in played.said()
    assert played.said()[-2:] == ["scontrol delete ReservationName=wn_vwn-1", "scontrol delete NodeName=vwn-1"]


def test_a_job_of_ours_that_is_still_tied_to_a_host_is_never_cancelled_with_it() -> None:
    mark = "wnodes:a:hv1:1?Partition=main"
    played = InUse(squeue=row(admin_comment=mark, Reservation="wn_vwn-1"))
    with pytest.raises(LrmsError, match="still on its way"):
        slurm(played).remove_host("vwn-1")
    assert not any(said.startswith("scancel") for said in played.said())


def test_a_vm_of_any_image_has_the_program_without_which_every_task_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "task-prolog"
    monkeypatch.setattr(slurm_hosts, "TASK_PROLOG", str(program))
    backend = slurm(Played(scontrol_show_config="SlurmctldHost[0] = head\n"), munge_key="")
    host = WorkerNode("vwn-1", "10.0.0.9", Resources(1, 512), "a", key="k1")
    assert [file.path for file in backend.guest_setup(host).files] == ["/etc/default/slurmd"]
    program.write_text("#!/bin/sh\n")
    assert backend.guest_setup(host).files[-1] == GuestFile(str(program), "#!/bin/sh\n", 0o755)
