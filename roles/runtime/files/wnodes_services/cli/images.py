# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``wnodes images``: the catalogue, from publication to removal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wnodes.directory.base import Heartbeat
from wnodes.image.build import Build
from wnodes.image.manifest import read_release
from wnodes.image.publish import Target, republish
from wnodes.image.recipe.engine import Engine
from wnodes.image.recipe.operations import Recipe
from wnodes.image.signature import Keyring, Signer
from wnodes.image.workfolder import work_folder
from wnodes.model.clock import Clock
from wnodes.model.errors import WnodesError
from wnodes.model.hostlist import chosen
from wnodes.model.image import TagEntry
from wnodes.nameserver import catalogue
from wnodes.nameserver.garbage import Garbage, collect, find_garbage

from . import show, site
from .common import Json, print_json

app = typer.Typer(help="Images of virtual machines (on the head node).", no_args_is_help=True)

Tag = Annotated[str, typer.Argument(help="Image tag.")]
Authority = Annotated[str, typer.Option(help="Certificate authority of those who may sign.")]
Key = Annotated[str, typer.Option(help="The signer's private key.")]
Certificate = Annotated[str, typer.Option(help="The signer's certificate.")]
Days = Annotated[
    int, typer.Option("--valid-days", metavar="DAYS", help="Days until the image boots nowhere any more; 0: never.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def _keyring(authority: str) -> Keyring:
    return Keyring(authority, clock=Clock())


def _nodes() -> dict[str, dict[str, Any]]:
    """Return, by host and tag, how each node says that the tag stands there."""
    services = site.look(Clock()).services
    return catalogue.on_nodes(Heartbeat(one.role, one.host, status=one.detail) for one in services)


@app.command("list")
def list_tags(as_json: Json = False) -> None:
    """Show the tags, their images, and how many nodes have them."""
    entries = [catalogue.described(entry) for entry in site.nameserver().tags()]
    nodes = _nodes()
    if as_json:
        print_json([{**entry, "nodes": {host: nodes[host].get(entry["tag"]) for host in nodes}} for entry in entries])
    else:
        show.console().print(show.tags(entries, nodes, Clock().now()))


@app.command("show")
def show_tag(tag: Tag, authority: Authority = catalogue.AUTHORITY, as_json: Json = False) -> None:
    """Show one tag: its image, who may use it, what it pointed to before, and which nodes have it."""
    directory = site.nameserver()
    history = [catalogue.described(entry) for entry in directory.history(tag)]
    entry = next((entry for entry in directory.tags() if entry.tag == tag), None)
    if entry is None and not history:
        directory.tag(tag)  # says which there are
    now = {**catalogue.described(entry), "signer": _signer(entry, authority)} if entry else None
    nodes = {host: tags[tag] for host, tags in _nodes().items() if tag in tags}
    if as_json:
        print_json({"tag": tag, "now": now, "history": history, "nodes": nodes})
    else:
        show.console().print(show.tag(tag, now, history, nodes))


def _signer(entry: TagEntry, authority: str) -> str:
    """Return who signed what a tag points to, or why it is worth nothing."""
    try:
        return _keyring(authority).verify(entry.release, entry.tag)[1]
    except WnodesError as error:
        return str(error)


@app.command()
def publish(
    source: Annotated[Path, typer.Argument(help="Folder (or manifest.json) of a built image that all nodes can read.")],
    tag: Annotated[list[str] | None, typer.Option(help="Instead of the manifest's tags; may be repeated.")] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOSTS", help="Only for these hypervisors yet; may be repeated.")
    ] = None,
    authority: Authority = catalogue.AUTHORITY,
    as_json: Json = False,
) -> None:
    """Point tags to an image, after checking its signature (as root)."""
    hosts = chosen(host, site.look(Clock()).nodes) if host else None
    desired = catalogue.desired_tags(str(source), tuple(tag or ()), hosts, _keyring(authority))
    _point(desired, as_json)


@app.command()
def retire(tag: Tag, as_json: Json = False) -> None:
    """Remove a tag: no new VM gets its image; those that run go on (as root)."""
    directory = site.nameserver()
    if not directory.history(tag):
        directory.tag(tag)  # says which there are
    _point(catalogue.DesiredTags((tag,), None), as_json)


def _point(desired: catalogue.DesiredTags, as_json: bool) -> None:
    directory = site.nameserver()
    todo = catalogue.changes(directory, desired)
    catalogue.apply(directory, desired, todo)
    if as_json:
        print_json({"changed": bool(todo), "tags": [catalogue.described(change.after) for change in todo]})
    else:
        show.console().print(show.pointed(desired, todo))


@app.command()
def verify(
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG|FOLDER", help="All tags if none given.")] = None,
    authority: Authority = catalogue.AUTHORITY,
    as_json: Json = False,
) -> None:
    """Check signatures, and read every file of the images again."""
    results = [_verified(name, authority) for name in tags or [entry.tag for entry in site.nameserver().tags()]]
    if as_json:
        print_json(results)
    else:
        for result in results:
            show.console().print(f"{result['name']}: {result['error'] or 'good, signed by ' + result['signer']}")
    if any(result["error"] for result in results):
        raise typer.Exit(1)


def _verified(name: str, authority: str) -> dict[str, str]:
    try:
        if "/" in name:
            release = read_release(name)
            wanted = release.claims().tags
        else:
            release, wanted = site.nameserver().tag(name).release, (name,)
        signers = [_keyring(authority).verify(release, tag)[1] for tag in wanted]
        catalogue.check_files(release)
    except WnodesError as error:
        return {"name": name, "signer": "", "error": str(error)}
    return {"name": name, "signer": ", ".join(dict.fromkeys(signers)) or "nobody: it names no tags", "error": ""}


@app.command("tag")
def tag_image(
    source: Annotated[Path, typer.Argument(help="Folder of a published image.")],
    tags: Annotated[list[str], typer.Argument(metavar="TAG", help="All tags it shall have.")],
    key: Key,
    certificate: Certificate,
    valid_days: Days = 0,
    as_json: Json = False,
) -> None:
    """Sign a published image anew, under these tags and with a new version; so does an older image come back."""
    before = read_release(str(source)).claims()
    folder, signer = str(source.resolve().parent), Signer(key, certificate)
    target = Target(folder, tuple(tags), before.cmdline, valid_days=valid_days, allowed=before.allowed, signer=signer)
    done = republish(str(source), target)
    print_json(done) if as_json else show.console().print(f"{done.path}: version {done.manifest.version}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


@app.command("import")
def import_image(
    source: Annotated[str, typer.Argument(help="A disk image: path, or URL with --checksum.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of published images, which all nodes can read.")],
    tag: Annotated[list[str], typer.Option(help="<name>_<os>_<arch>; may be repeated.")],
    key: Key,
    certificate: Certificate,
    image_format: Annotated[str, typer.Option("--format", help="qcow2 or raw; never guessed.")] = "qcow2",
    checksum: Annotated[str, typer.Option(help="Its SHA-256.")] = "",
    cmdline: Annotated[str, typer.Option(help="Kernel command line; root= is added.")] = "console=ttyS0 rw",
    root_device: Annotated[str, typer.Option(help="As the guest names it; found where not given.")] = "",
    valid_days: Days = 0,
    as_json: Json = False,
) -> None:
    """Check an image for what must not be handed out, take its kernel out, sign and publish it (needs libguestfs)."""
    target = Target(str(to), tuple(tag), cmdline, root_device, valid_days=valid_days, signer=Signer(key, certificate))
    to.mkdir(parents=True, exist_ok=True)
    base = source if "://" in source else str(Path(source).resolve())
    with work_folder(str(to), tag[0], resume="://" in source) as folder:
        work = f"{folder}/disk.{image_format}"
        done = Build(Engine(), work, image_format, base, Recipe(), target, checksum, _tell).run()
    assert done.published is not None
    if as_json:
        print_json(done.published)
    else:
        show.console().print(f"{done.published.path}: now `wnodes images publish {done.published.path}`")


@app.command()
def gc(
    keep: Annotated[int, typer.Option(help="Releases of each tag to keep besides the current one.")] = 1,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete published images that no tag needs any more (as root)."""
    garbage = find_garbage(site.nameserver(), keep, Clock())
    if not dry_run:
        collect(garbage)
    if as_json:
        print_json({"dry_run": dry_run, "deleted": garbage})
    else:
        show.console().print(_collected(garbage, dry_run))


def _collected(garbage: tuple[Garbage, ...], dry_run: bool) -> str:
    lines = [f"{'would delete' if dry_run else 'deleted'} {item.path} ({item.size >> 20} MiB)" for item in garbage]
    return "\n".join(lines) or "nothing to delete"
