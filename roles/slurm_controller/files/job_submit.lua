-- Copyright: (c) 2026, the wnodes.farm contributors
-- GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later
--
-- Refuses at submit what asks for an image and can't go to a VM; without it such a job is refused when it is dispatched.
-- A site with a job_submit.lua of its own calls can_not_go_to_a_vm in it.

-- Return why a job can't go to the VM that it asks for, or nil.
local function can_not_go_to_a_vm(job)
    if not (job.features and job.features:find("%f[%w_]vm_")) then
        return nil
    end
    if job.het_job_offset and job.het_job_offset ~= slurm.NO_VAL then
        return "a part of a heterogeneous job can't go to a VM: leave vm_... out of it, or submit it alone"
    end
    if job.prefer and job.prefer ~= "" then
        return "--prefer would hide the image from us: leave it out beside --constraint=vm_..."
    end
    if not job.script then
        return "a job with a terminal can't go to a VM: submit it with sbatch"
    end
    if job.min_nodes and job.min_nodes ~= slurm.NO_VAL and job.min_nodes > 1 then
        return "a job in a VM has one node: submit with -N 1"
    end
    return nil
end

function slurm_job_submit(job, _partitions, _uid)
    local reason = can_not_go_to_a_vm(job)
    if reason then
        slurm.log_user("%s", reason)
        return slurm.ERROR
    end
    return slurm.SUCCESS
end

-- Changes are looked at when the job is dispatched: what a job was submitted with is not told here.
function slurm_job_modify(_change, _job, _partitions, _uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
