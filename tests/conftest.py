# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names for all tests: ``wnodes`` (the library), ``wnodes_services`` and ``ansible_collections.wnodes.farm``.

On a node the library is the package ``wnodes``; Ansible calls the same files
``ansible_collections.wnodes.farm.plugins.module_utils``. Here both names give the *same* module objects,
else an error raised under one name would not be caught under the other.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = "ansible_collections.wnodes.farm"
LIBRARY = ROOT / "plugins" / "module_utils"


class _SameModule(Loader):
    """Hand out the module that is already known as ``wnodes…``."""

    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put the alias there


class _LibraryAlias(MetaPathFinder):
    prefix = f"{COLLECTION}.plugins.module_utils"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.prefix and not fullname.startswith(self.prefix + "."):
            return None
        real = "wnodes" + fullname[len(self.prefix) :]
        if importlib.util.find_spec(real) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, _SameModule(real), is_package=True)


def _package(name: str, path: Path) -> None:
    module = types.ModuleType(name)
    module.__path__ = [str(path)]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module
    parent, _dot, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, module)


if "wnodes" not in sys.modules:
    _package("wnodes", LIBRARY)
    for depth, folder in ((1, ROOT / ".cache"), (2, ROOT / ".cache"), (3, ROOT)):
        _package(".".join(COLLECTION.split(".")[:depth]), folder)
    sys.meta_path.insert(0, _LibraryAlias())
    sys.path.insert(0, str(ROOT / "roles" / "runtime" / "files"))
