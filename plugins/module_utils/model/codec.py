# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dataclasses from and to plain data (JSON, YAML), strictly: unknown and missing keys are errors.

Two versions of one service meet in its journal: a key with a default may be missing there, for an older one wrote it.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, Dict, Type, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError

T = TypeVar("T")
_NONE = type(None)


def encode(value: Any) -> Any:
    """Return ``value`` (dataclasses, enums, tuples, dicts, scalars) as JSON-ready data, in which all texts are text.

    A lone surrogate becomes a question mark: were it an error, a user's bytes would keep a record from being written.
    """
    if isinstance(value, str) and not isinstance(value, Enum):
        return readable(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {readable(str(key)): encode(item) for key, item in value.items()}
    return value


def readable(text: str) -> str:
    """Return ``text`` with question marks for what is none (lone surrogates: bytes that were not UTF-8)."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def decode(cls: Type[T], data: Any, where: str = "") -> T:
    """Return ``data`` as an instance of ``cls``.

    :param where: where the data came from, e.g. a file name; it starts every error's object
    :raises ConfigError: naming the key, its value and what is allowed; a lone surrogate is allowed nowhere
    """
    result: T = _decode(cls, data, where or cls.__name__)
    return result


def known(cls: Any, data: Any) -> Any:
    """Return ``data`` without the keys that ``cls`` and the dataclasses in it do not have."""
    origin, args = get_origin(cls), get_args(cls)
    if origin is Union:
        return None if data is None else known(next(arg for arg in args if arg is not _NONE), data)
    if origin is tuple and isinstance(data, list):
        return [known(args[0], item) for item in data]
    if dataclasses.is_dataclass(cls) and isinstance(data, dict):
        hints = get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls) if field.name in data]
        return {name: known(hints[name], data[name]) for name in names}
    return data


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin is Union:
        return None if data is None else _decode(next(arg for arg in args if arg is not _NONE), data, where)
    if origin is tuple:
        _expect(isinstance(data, (list, tuple)), where, data, "a list")
        return tuple(_decode(args[0], item, f"{where}[{index}]") for index, item in enumerate(data))
    if origin is dict:
        _expect(isinstance(data, dict), where, data, "a mapping")
        return {_decode(str, str(key), where): _decode(args[1], item, f"{where}.{key}") for key, item in data.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        allowed = [member.value for member in kind]
        _expect(data in allowed, where, data, "one of " + ", ".join(map(str, allowed)))
        return kind(data)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, where)
    if kind is float:
        _expect(isinstance(data, (int, float)) and not isinstance(data, bool), where, data, "a number")
        return float(data)
    if kind is int:
        _expect(isinstance(data, int) and not isinstance(data, bool), where, data, "a whole number")
        return data
    _expect(isinstance(data, kind), where, data, {str: "a text", bool: "true or false"}.get(kind, kind.__name__))
    _expect(kind is not str or readable(data) == data, where, data, "a text, which a lone surrogate is not")
    return data


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    _expect(isinstance(data, dict), where, data, "a mapping")
    fields: Dict[str, Any] = {field.name: field for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    for key in data:
        if key not in fields:
            raise ConfigError(
                object=f"{where}: {key}",
                value=repr(data[key]),
                reason="unknown key",
                hint="known keys: " + ", ".join(fields),
            )
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _decode(
                hints[name], data[name], f"{where}: {name}" if ":" not in where else f"{where}.{name}"
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(object=f"{where}: {name}", reason="is missing", hint="it has no default; add it")
    return kind(**values)


def _expect(good: bool, where: str, data: Any, allowed: str) -> None:
    if not good:
        raise ConfigError(object=where, value=repr(data), reason=f"must be {allowed}")
