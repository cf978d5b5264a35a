"""Dataclasses of settings: from text or YAML values to typed fields, with errors that name the setting."""

import bisect
import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from wgan_dist.utils.errors import UserError

Settings = TypeVar("Settings")

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
# What a person writes for an optional setting that the program is to choose.
AUTO = "auto"


def setting(
    default: Any,
    help: str,
    *,
    group: str = "",
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    parse: Callable[[Any], Any] | None = None,
    positional: bool = False,
) -> Any:
    """A dataclass field with its help line and its bounds: `least` ≤ value, `above` < value < `below`.

    `group` starts a new heading in the help. `parse` replaces the conversion by the field's type and
    raises ValueError with the words for what is accepted. A `positional` tuple of texts takes
    the words that are no flags.
    """
    bounds = {"least": least, "above": above, "below": below}
    metadata = {"help": help, "group": group, "choices": choices, "parse": parse, "positional": positional} | bounds
    return dataclasses.field(default=default, metadata=metadata)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in TRUE + FALSE:
        return text in TRUE
    raise ValueError("true or false")


def _whole(value: Any) -> int:
    with suppress(ValueError):
        return int(str(value))  # exactly: a float would round a large seed
    try:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer():
            raise ValueError
        return int(number)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a whole number") from None


def _number(value: Any) -> float:
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number") from None


def _text(value: Any) -> str:
    if isinstance(value, (str, int, float, os.PathLike)):
        return str(value)
    raise ValueError("text")


CONVERSIONS: dict[Any, Callable[[Any], Any]] = {bool: _boolean, int: _whole, float: _number, str: _text}


def _between_commas(text: str) -> list[str]:
    """Commas within a pattern, as {a,b{0,1}}.tar, separate nothing; a brace without its other is a letter."""
    opened: list[int] = []
    commas: list[int] = []
    for place, letter in enumerate(text):
        if letter == "{":
            opened.append(place)
        elif letter == ",":
            commas.append(place)
        elif letter == "}" and opened:
            del commas[bisect.bisect(commas, opened.pop()) :]
    ends = [*commas, len(text)]
    return [text[start:end] for start, end in zip([0, *(comma + 1 for comma in commas)], ends, strict=True)]


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        enclosed = value[:1] + value[-1:] in ("()", "[]")
        items = _between_commas(value[1:-1] if enclosed else value)
        return [item.strip() for item in items if item.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _sequence(kind: Any, value: Any) -> tuple[Any, ...]:
    kinds = typing.get_args(kind)
    items = _items(value)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * max(1, len(items))
    if len(items) != len(kinds):
        raise ValueError(f"{len(kinds)} values separated by commas" if len(kinds) > 1 else "one or more values")
    return tuple(CONVERSIONS[each](item) for each, item in zip(kinds, items, strict=True))


def _typed(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is types.UnionType:
        if value is None or value == AUTO:
            return None
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        return _sequence(kind, value)
    return CONVERSIONS[kind](value)


def _check_bounds(rules: Mapping[str, Any], value: Any) -> None:
    if rules["choices"] and value not in rules["choices"]:
        raise ValueError("one of " + ", ".join(rules["choices"]))
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if not isinstance(number, (int, float)):
            continue
        if rules["least"] is not None and number < rules["least"]:
            raise ValueError(f"at least {rules['least']:g}")
        if rules["above"] is not None and number <= rules["above"]:
            raise ValueError(f"more than {rules['above']:g}")
        if rules["below"] is not None and number >= rules["below"]:
            raise ValueError(f"less than {rules['below']:g}")


def _convert(field: "dataclasses.Field[Any]", kind: Any, value: Any) -> Any:
    try:
        parse = field.metadata["parse"]
        converted = parse(value) if parse else _typed(kind, value)
        _check_bounds(field.metadata, converted)
        return converted
    except ValueError as accepted:
        raise UserError(f"{field.name}={value}: expected {accepted}") from None


def unknown_name(kind: str, name: str, known: list[str]) -> UserError:
    """The error for a name that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known are: " + ", ".join(known)
    return UserError(f"unknown {kind} {name}; {hint}")


def typed_values(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Texts (flags) or YAML values to the types of the fields of `cls`; an unknown name is a UserError."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    kinds = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise unknown_name("setting", str(name), list(fields))
    return {name: _convert(fields[name], kinds[name], value) for name, value in values.items()}


def from_flags(cls: type[Settings], flags: Mapping[str, str]) -> Settings:
    """Build a dataclass of settings from the texts of a command line."""
    return cls(**typed_values(cls, flags))


def needs_value(cls: type[Any], name: str) -> bool:
    """Whether a setting cannot be given as `--name` alone: one that would take the word true for a text."""
    kind = typing.get_type_hints(cls).get(name)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    return kind in (str, tuple[str, ...]) and fields[name].metadata["parse"] is None


def show(value: Any) -> str:
    """A setting's value as a person would type it."""
    if value is None:
        return AUTO
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(show(item) for item in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def help_text(cls: type[Any], usage: str) -> str:
    """`usage`, then a line for every setting of `cls`: flag, meaning, accepted values, default."""
    lines = [usage.strip()]
    for field in dataclasses.fields(cls):
        rules = field.metadata
        if rules["group"]:
            lines += ["", f"{rules['group']}:"]
        choices = f" [{'|'.join(rules['choices'])}]" if rules["choices"] else ""
        default = (
            f" (default {show(field.default)})" if field.default not in ("", ()) and field.default is not False else ""
        )
        lines.append(f"  --{field.name:<24} {rules['help']}{choices}{default}")
    return "\n".join(lines)
