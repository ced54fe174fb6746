"""Configurations as JSON, and their hash; kept beside what they made."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from ganiqa_jax.errors import InputError

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values, in the order of its fields."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(cls: type[T], values: dict[str, Any]) -> T:
    """Rebuilds a configuration that `to_json` wrote.

    Raises:
      InputError: if a field is unknown or missing; names the fields there are.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(values) - fields)
    if unknown:
        raise InputError(
            f"{cls.__name__} has no field {unknown}; its fields are {sorted(fields)}."
        )
    try:
        return cls(**{k: _from_json(hints[k], v) for k, v in values.items()})
    except TypeError as error:
        raise InputError(f"{cls.__name__}: {error}") from error


def config_hash(config: Any, without: Collection[str] = ()) -> str:
    """Twelve hex digits over the class name and every field but those of `without`."""
    values = {k: v for k, v in to_json(config).items() if k not in without}
    text = json.dumps([type(config).__name__, values], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _from_json(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)
        return tuple(_from_json(inner[0], item) for item in value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and value is not None:
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return _from_json(inner[0], value) if len(inner) == 1 else value
    return value
