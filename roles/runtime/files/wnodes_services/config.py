# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files: `/etc/wnodes/<role>.yml` as one dataclass, or a message that says what to change."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from wnodes.model.codec import decode
from wnodes.model.errors import ConfigError

T = TypeVar("T")

#: sysexits.h; the units don't restart a service that ended with it
EX_CONFIG = 78


def load(cls: type[T], path: str) -> T:
    """Return the file at ``path`` as an instance of ``cls``.

    :raises ConfigError: it is missing, unreadable, not YAML, or has a key that is unknown, missing or wrong
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            object=path, reason=error.strerror or str(error), hint="the role of this service writes it"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(object=path, reason="is not YAML: " + " ".join(str(error).split())) from None
    try:
        return decode(cls, {} if data is None else data, path)
    except ConfigError as error:
        if path in error.object:
            raise
        # A dataclass that checks itself knows its keys but not its file.
        raise ConfigError(
            object=f"{path}: {error.object}", value=error.value, reason=error.reason, hint=error.hint
        ) from None


def load_or_exit(cls: type[T], path: str, check: Callable[[T], object] = lambda config: None) -> T:
    """Return the configuration, or end the process with EX_CONFIG and what is wrong on standard error.

    :param check: looks at what else belongs to the configuration; raises ConfigError
    """
    try:
        config = load(cls, path)
        check(config)
        return config
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"configuration: {line}", file=sys.stderr)
        raise SystemExit(EX_CONFIG) from None
