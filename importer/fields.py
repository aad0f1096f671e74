"""Reads dataclasses from the values of JSON or TOML, strictly: no unknown, missing or odd field.

For files that users edit or other versions of the kit have written.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
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
        FieldsInvalid: it is no such table; `problems` name all wrong fields, such as
            `disks[1].size: not a whole number`.
    """
    wrong: list[str] = []
    made: Made = _value(kind, value, "", wrong)
    if wrong:
        raise FieldsInvalid(wrong)
    return made


class FieldsInvalid(ValueError):  # noqa: N818 - as in `except FieldsInvalid`
    """The value is no such table; `problems` has all reasons."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def _value(kind: Any, value: object, place: str, wrong: list[str]) -> Any:
    """The value of a field; adds to `wrong` what is wrong, and returns nothing of use then."""
    if dataclasses.is_dataclass(kind):
        return _table(kind, value, place, wrong)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        (one,) = (each for each in arguments if each is not types.NoneType)
        return _value(one, value, place, wrong)
    if origin is typing.Literal:
        if value not in arguments or type(value) not in {type(each) for each in arguments}:
            listed = ", ".join(map(str, arguments))
            wrong.append(f"{place}: {value!r} is none of these: {listed}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            wrong.append(f"{place}: not a list")
            return ()
        return tuple(
            _value(arguments[0], each, f"{place}[{number}]", wrong)
            for number, each in enumerate(value)
        )
    if origin is Mapping:
        if not isinstance(value, dict):
            wrong.append(f"{place}: not a table")
            return {}
        return {
            key: _value(arguments[1], each, f"{place}.{key}", wrong) for key, each in value.items()
        }
    return _plain(kind, value, place, wrong)


def _table(kind: Any, value: object, place: str, wrong: list[str]) -> Any:
    if not isinstance(value, dict):
        wrong.append(f"{place or 'the whole'}: not a table")
        return None
    dot = f"{place}." if place else ""
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    before = len(wrong)
    wrong += [f"{dot}{name}: unknown" for name in value if name not in fields]
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            wrong.append(f"{dot}{name}: missing")
    made = {
        name: _value(hints[name], each, f"{dot}{name}", wrong)
        for name, each in value.items()
        if name in fields
    }
    return kind(**made) if len(wrong) == before else None


def _plain(kind: Any, value: object, place: str, wrong: list[str]) -> Any:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:  # not isinstance: a bool is an int to Python
        wrong.append(f"{place}: not {words[kind]}")
        return value
    return kind(value)
