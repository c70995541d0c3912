# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of this machine: there, well, as installed, and with all they need to reach each other."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Dict, Iterator, List, Tuple

from ..model.errors import CommandFailed, WnodesError
from .check import HEAD, NODE, Check, Finding, Wanted, failure, first_line, of_error, ok, skipped, warning
from .machine import Machine

SERVICES = {HEAD: ("nameserver",), NODE: ("hypervisor", "bait")}
SOCKET_UNITS: Dict[str, Tuple[str, ...]] = {HEAD: (), NODE: ("wnodes-hook.socket",)}
CERTIFICATES = {HEAD: ("nameserver", "manager"), NODE: SERVICES[NODE]}
ETC, RUN, PKI = "/etc/wnodes", "/run/wnodes", "/etc/wnodes/pki"
INSTALLED = "/opt/wnodes/installed"
HOOK_FOLDER, HOOK_DIGEST = "/usr/libexec/wnodes/hook", "/usr/libexec/wnodes/hook.sha256"
#: as the role bait copies them, in the order of their names there
HOOK_SCRIPTS = ("/etc/slurm/epilog.d/50-wnodes", "/etc/slurm/prolog.d/50-wnodes", "/usr/libexec/wnodes/wnodes-hook")
#: days before a certificate's end at which the role renews it
RENEW_DAYS = 30
ROLL_OUT = "run the playbook site"


def units(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    names = [f"wnodes-{name}.service" for name in SERVICES[wanted.role]] + list(SOCKET_UNITS[wanted.role])
    properties = "--property=Id,LoadState,ActiveState,SubState,UnitFileState"
    yield from judge_units(machine.said("systemctl", "show", properties, *names))


def judge_units(shown: str) -> Iterator[Finding]:
    """Judge ``systemctl show``."""
    seen = []
    for block in shown.split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        name, state = unit.get("Id", ""), f"{unit.get('ActiveState')} ({unit.get('SubState')})"
        seen.append(name)
        if unit.get("LoadState") != "loaded":
            yield failure(name, unit.get("LoadState", ""), "is not installed", ROLL_OUT)
        elif unit.get("ActiveState") not in ("active", "reloading"):
            yield failure(name, state, "does not run", f"`journalctl -u {name}` tells why; `systemctl start {name}`")
        elif unit.get("UnitFileState") == "disabled":
            yield warning(
                name, "disabled", "will not run after the next start of this machine", f"`systemctl enable {name}`"
            )
    yield ok("units", ", ".join(seen))


def answers(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    installed = (machine.read(INSTALLED) or "").split()
    for name in SERVICES[wanted.role]:
        try:
            health = machine.ask(name, os.path.join(RUN, f"{name}.sock"), "/healthz")
        except WnodesError as error:
            yield of_error(error)
            continue
        what, cure = f"wnodes-{name}", f"`systemctl restart wnodes-{name}`: neither jobs nor VMs notice"
        version = str(health.get("version", ""))
        if len(installed) > 1 and version != installed[1]:
            yield warning(what, version, f"runs with another version than is installed ({installed[1]})", cure)
        content = machine.read(os.path.join(ETC, f"{name}.yml"))
        checksum = hashlib.sha1((content or "").encode(), usedforsecurity=False).hexdigest()
        if content is not None and health.get("config") != checksum:
            yield warning(what, os.path.join(ETC, f"{name}.yml"), "was changed since the service read it", cure)
        yield ok(what, f"version {version}")


def configuration(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    for error in wanted.broken:
        yield of_error(error)


def certificates(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    for role in CERTIFICATES[wanted.role]:
        yield from _certificate(machine, role)


def _certificate(machine: Machine, role: str) -> Iterator[Finding]:
    path, key = os.path.join(PKI, f"{role}.crt"), os.path.join(PKI, f"{role}.key")
    what = f"certificate {path}"
    try:
        machine.run("openssl", "verify", "-CAfile", os.path.join(PKI, "ca.crt"), path)
        shown = machine.said("openssl", "x509", "-in", path, "-noout", "-enddate", "-ext", "subjectAltName")
    except CommandFailed as error:
        yield failure(
            what, "", f"is missing, expired, or not issued by this site's authority: {first_line(error)}", ROLL_OUT
        )
        return
    end = re.search(r"notAfter=(.*)", shown)
    names = re.findall(r"DNS:([^,\s]+)", shown)
    if f"{role}.wnodes" not in names:
        yield failure(what, ", ".join(names), f"is not for role {role}", ROLL_OUT)
    seconds = str(RENEW_DAYS * 86400)
    if machine.run("openssl", "x509", "-in", path, "-noout", "-checkend", seconds, check=False).rc != 0:
        when = end.group(1) if end else ""
        yield warning(what, when, f"ends within {RENEW_DAYS} days", f"{ROLL_OUT}: it renews certificates")
    yield from _key(machine, path, key)
    yield ok(what, f"{', '.join(names)}, good until {end.group(1) if end else ''}")


def _key(machine: Machine, path: str, key: str) -> Iterator[Finding]:
    mode = machine.mode(key)
    if mode is None:
        yield failure(f"key {key}", "", "is not there", ROLL_OUT)
        return
    if mode & 0o077:
        cure = f"`chmod 600 {key}`; if somebody may have read it: remove it and its certificate, and {ROLL_OUT}"
        yield failure(f"key {key}", f"{mode:04o}", "others than root may read it", cure)
    public = machine.said("openssl", "x509", "-in", path, "-noout", "-pubkey")
    if machine.said("openssl", "pkey", "-in", key, "-pubout") != public:
        yield failure(f"key {key}", "", "is not that of its certificate", f"remove it, and {ROLL_OUT}")


def nameserver(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    for role, config in (("hypervisor", wanted.hypervisor), ("bait", wanted.bait)):
        if config is not None:
            try:
                machine.ask_nameserver(config.nameserver, role)
            except WnodesError as error:
                yield failure(
                    f"nameserver, as the {role} reaches it",
                    config.nameserver.url,
                    error.reason,
                    "`wnodes status` on the head node; is its port open to the nodes? are both certificates good?",
                )
            else:
                yield ok(f"nameserver, as the {role} reaches it", config.nameserver.url)


def hook(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    whole = True
    for path in HOOK_SCRIPTS:
        mode = machine.mode(path)
        if mode is None or not mode & 0o111:
            whole = False
            yield failure(
                f"hook {path}",
                "" if mode is None else f"{mode:04o}",
                "is not there" if mode is None else "is not executable",
                f"remove {HOOK_DIGEST}, and {ROLL_OUT}: without the hook jobs that ask for a VM run on the bare node",
            )
    library = [os.path.join(HOOK_FOLDER, name) for name in machine.entries(HOOK_FOLDER) if name.endswith(".py")]
    texts = [(machine.read(path) or "").rstrip() for path in (*library, *HOOK_SCRIPTS)]
    found = hashlib.sha256("|".join(texts).encode()).hexdigest()
    wants = (machine.read(HOOK_DIGEST) or "").strip()
    if whole and found != wants:
        yield warning(
            "hook",
            found[:12],
            f"was changed since its roll-out ({wants[:12]})",
            f"remove {HOOK_DIGEST}, and {ROLL_OUT}",
        )
    yield ok("hook", found[:12])


def leftovers(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    folder = wanted.bait.slurm.adopt_dir if wanted.bait is not None else ""
    marks: List[str] = machine.entries(folder) if folder else []
    if marks:
        yield warning(
            "jobs that the hook put back",
            ", ".join(marks[:20]),
            "wait, held, for a bait to free them",
            "`systemctl status wnodes-bait`: it frees them within a few heartbeats of its start",
        )


def well(machine: Machine, wanted: Wanted) -> Iterator[Finding]:
    for name in SERVICES[wanted.role]:
        try:
            status = machine.ask(name, os.path.join(RUN, f"{name}.sock"), "/v1/status")
        except WnodesError as error:
            yield skipped(f"wnodes-{name}", f"does not answer: {error.reason}", "see services.answers")
            continue
        for problem in status.get("problems", ()):
            yield failure(f"wnodes-{name}", "", str(problem), f"`journalctl -u wnodes-{name}` tells more")
        yield ok(f"wnodes-{name}", "has no problem")


CHECKS = (
    Check("services.configuration", "what the services are configured with", configuration),
    Check("services.units", "units of systemd: active, and at the next start too", units, running=True),
    Check(
        "services.answers", "sockets answer; version and configuration are the installed ones", answers, running=True
    ),
    Check("services.well", "what the services themselves call a problem", well, running=True),
    Check("services.certificates", "certificates and keys: authority, role, end, rights", certificates, running=True),
    Check("services.nameserver", "the nameserver, over TLS from this node", nameserver, (NODE,), running=True),
    Check("services.hook", "the hook: there, executable, as rolled out", hook, (NODE,), running=True),
    Check("services.leftovers", "jobs the hook put back that no bait has freed", leftovers, (NODE,), running=True),
)
