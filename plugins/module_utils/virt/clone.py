# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM from a template: an overlay over the template's disk, its memory restored, then what only this VM has.

What comes up is a clone until it is personalised (:func:`personality.personality` with ``clone=True``): it has the
template's random numbers, machine id and clock.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Dict, Iterator

from ..process import run as run_process
from .base import VmHost
from .disks import Run, copy_sparse, make_overlay
from .domain import Domain
from .template import Template


def clone(host: VmHost, template: Template, domain: Domain, run: Run = run_process) -> Dict[str, float]:
    """Start ``domain`` (as :func:`policy.make_domain` makes it of the image itself) from a template.

    May be repeated at any time: what runs already only gets the devices that it lacks. Returns the seconds that
    ``overlay``, ``restore``, ``nic`` and ``virtiofs`` took.

    :raises ImageError: the template does not fit the domain: no VM like this will start from it
    :raises UnavailableError: of just this class: the host does not answer, and nothing is known of the domain
    :raises VirtError: this VM could not be restored; it may be booted instead, after ``host.destroy``
    :raises CommandFailed: its disks could not be made
    """
    seconds: Dict[str, float] = {}
    if host.find(domain.uuid) is None:
        with _timed(seconds, "overlay"):
            _make_disks(template, domain, run)
        with _timed(seconds, "restore"):
            host.restore(template.memory, _over(template, domain))
    with _timed(seconds, "nic"):
        for interface in domain.interfaces:
            host.attach(domain.uuid, interface)
    with _timed(seconds, "virtiofs"):
        for filesystem in domain.filesystems:
            host.attach(domain.uuid, filesystem)
    return seconds


@contextlib.contextmanager
def _timed(seconds: Dict[str, float], phase: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[phase] = time.monotonic() - begun


def _over(template: Template, domain: Domain) -> Domain:
    root, *others = domain.disks
    return replace(domain, disks=(replace(root, backing=((template.disk, "qcow2"),) + root.backing), *others))


def _make_disks(template: Template, domain: Domain, run: Run) -> None:
    root, *others = domain.disks
    make_overlay(run, (template.disk, "qcow2"), root.path)
    for disk in others:
        # a copy, because the guest has seen its superblock
        copy_sparse(run, template.scratch, disk.path)
