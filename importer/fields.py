"""Reads dataclasses from the values of JSON or TOML, strictly: no unknown, missing or odd field.

For files that users edit or other versions of the kit have written.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Made = TypeVar("Made")


def decoded(kind: type[Made], value: object) -> Made:
    """A dataclass from a table of its fields.

    Fields may be dataclasses themselves, text, numbers, booleans, Literal, tuples of one type,
    mappings from text, and unions of these with None. Fields with a default may be missing.

    Args:
        kind: the dataclass.
        value: as `json` or `tomllib` return it.

    Raises:
        ValueError: it is no such table; the message names the first wrong field, such as
            `disks[1].size: not a whole number`.
    """
    made: Made = _value(kind, value, "")
    return made


def _value(kind: Any, value: object, place: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _table(kind, value, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        (one,) = (each for each in arguments if each is not types.NoneType)
        return _value(one, value, place)
    if origin is typing.Literal:
        if value not in arguments or type(value) not in {type(each) for each in arguments}:
            listed = ", ".join(map(str, arguments))
            raise ValueError(f"{place}: {value!r} is none of these: {listed}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{place}: not a list")
        return tuple(
            _value(arguments[0], each, f"{place}[{number}]") for number, each in enumerate(value)
        )
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(f"{place}: not a table")
        return {key: _value(arguments[1], each, f"{place}.{key}") for key, each in value.items()}
    return _plain(kind, value, place)


def _table(kind: Any, value: object, place: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'the whole'}: not a table")
    dot = f"{place}." if place else ""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise ValueError(f"{dot}{name}: unknown")
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            raise ValueError(f"{dot}{name}: missing")
    return kind(**{name: _value(hints[name], each, f"{dot}{name}") for name, each in value.items()})


def _plain(kind: Any, value: object, place: str) -> Any:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:  # not isinstance: a bool is an int to Python
        raise ValueError(f"{place}: not {words[kind]}")
    return kind(value)
