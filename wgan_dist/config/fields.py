"""Dataclasses of settings: fields that describe themselves, and parsing with errors that name the setting."""

import dataclasses
import difflib
import math
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from wgan_dist.config.image_size import ImageSize
from wgan_dist.config.other_names import advice_for_name, advice_for_value
from wgan_dist.config.text_lists import split_list, split_names
from wgan_dist.utils.errors import UserError

Settings = TypeVar("Settings")

# The text of an optional setting whose value the program chooses.
AUTO = "auto"
BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
BOUNDS = {"least": ("at least", operator.ge), "above": ("more than", operator.gt), "below": ("less than", operator.lt)}
# The letters that may stand behind a whole number.
FACTORS = {"k": 1_000, "m": 1_000_000}
MAX_EXPONENT = 20
# A decimal number. Python's own int and float also take 0_8 for 8, and the digits of every script.
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


def setting(
    default: Any,
    help: str,
    *,
    group: str = "",
    choices: tuple[str | int, ...] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    parse: Callable[[Any], Any] | None = None,
    affects_result: bool = True,
    saved: bool = True,
    positional: bool = False,
    required: bool = False,
) -> Any:
    """Return a dataclass field that says everything about a setting.

    Args:
        default: The value if the setting is not given.
        help: A sentence for `--help`.
        group: The heading in `--help` that begins with this setting.
        choices: The accepted values; upper case is accepted for lower case.
        least, above, below: The bounds of a number: `least` ≤ value, `above` < value < `below`.
        parse: A function that replaces the conversion to the field's type. It raises ValueError with the words for
            what is accepted.
        affects_result: False if a resumed run may change the setting.
        saved: False if the setting belongs to one start of a run and is not stored with the run.
        positional: True for the tuple of texts that receives the arguments that are not flags.
        required: True if a command line must give the setting.
    """
    bounds = {"least": least, "above": above, "below": below}
    properties = {"affects_result": affects_result, "saved": saved, "positional": positional, "required": required}
    metadata = {"help": help, "group": group, "choices": choices, "parse": parse} | bounds | properties
    return dataclasses.field(default=default, metadata=metadata)


def _parse_bool(value: Any) -> bool:
    return BOOLEANS[str(value).lower()]


def parse_whole_number(value: Any) -> int:
    """Return a whole number that may be written with an exponent or as thousands or millions: 500, 1e4, 10k, 1.5M.

    Raises:
        ValueError: For anything else.
    """
    text = str(value).strip()
    factor = FACTORS.get(text[-1:].lower(), 1)
    text = text[:-1] if factor > 1 else text
    if not NUMBER.fullmatch(text):
        raise ValueError
    try:
        number = Decimal(text)  # a float rounds a large seed
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite() or number.adjusted() > MAX_EXPONENT or (number * factor) % 1:
        raise ValueError
    return int(number * factor)


def parse_float(value: Any) -> float:
    """Return a finite number; raise ValueError for anything else."""
    text = str(value).strip()
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError
    return float(text)


def _parse_text(value: Any) -> str:
    if not isinstance(value, (str, int, float, os.PathLike)):
        raise ValueError
    if "\0" in str(value):
        raise ValueError("text without a zero byte, which no file name and no flag can hold")
    return str(value)


def parse_existing_path(value: Any) -> str:
    """Return the path of an existing file or folder.

    Raises:
        ValueError: For any other text; the message says what is accepted.
    """
    path = _parse_text(value)
    if not os.path.exists(path):  # noqa: PTH110 a Path would drop the last /
        raise ValueError("an existing file or folder")
    return path


PARSERS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (_parse_bool, "true or false"),
    int: (parse_whole_number, "a whole number"),
    float: (parse_float, "a number"),
    str: (_parse_text, "text"),
}


def _parse_item(item_type: Any, value: Any) -> Any:
    parse, accepted = PARSERS[item_type]
    try:
        return parse(value)
    except (KeyError, ValueError) as error:
        raise ValueError(str(error) if item_type is str and str(error) else accepted) from None


def _items(value: Any, split: Callable[[str], list[str]] = split_list) -> list[Any]:
    if isinstance(value, str):
        return split(value)
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _parse_tuple(item_types: tuple[Any, ...], value: Any, may_be_empty: bool) -> tuple[Any, ...]:
    items = _items(value, split_names if item_types[0] is str else split_list)
    if item_types[-1] is Ellipsis:
        if not items and not may_be_empty:
            raise ValueError("one or more values")
        item_types = item_types[:1] * len(items)
    if len(items) != len(item_types):
        raise ValueError(f"{len(item_types)} values separated by commas")
    return tuple(_parse_item(item_type, item) for item_type, item in zip(item_types, items, strict=True))


def _parse(field: "dataclasses.Field[Any]", annotation: Any, value: Any) -> Any:
    if field.metadata["parse"]:
        return field.metadata["parse"](value)
    if typing.get_origin(annotation) is types.UnionType:
        if value is None or value == AUTO:
            return None
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is tuple:
        return _parse_tuple(typing.get_args(annotation), value, may_be_empty=field.default == ())
    if field.metadata["choices"] and annotation is str:
        value = str(value).lower()
    return _parse_item(annotation, value)


def _check(metadata: Mapping[str, Any], value: Any) -> None:
    if value is None:
        return
    items = value if isinstance(value, tuple) else (value,)
    if metadata["choices"] and not all(item in metadata["choices"] for item in items):
        quantity = "some" if isinstance(value, tuple) else "one"
        raise ValueError(f"{quantity} of " + ", ".join(map(str, metadata["choices"])))
    for bound, (words, fulfils) in BOUNDS.items():
        limit = metadata[bound]
        if limit is not None and not all(fulfils(number, limit) for number in _items(value)):
            raise ValueError(f"{words} {show(limit)}")


def _convert(field: "dataclasses.Field[Any]", annotation: Any, value: Any) -> Any:
    try:
        converted = _parse(field, annotation, value)
        _check(field.metadata, converted)
    except ValueError as accepted:
        advice = advice_for_value(field.name, str(value))
        raise UserError(f"{field.name}={value}: expected {accepted}{advice and f'; {advice}'}") from None
    return converted


def unknown_name(thing: str, name: str, known: list[str]) -> UserError:
    """Return the error for a name that does not exist; it suggests the nearest known name."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "known are: " + (", ".join(known) or "none")
    return UserError(f"unknown {thing} {name}; {hint}")


def unknown_setting(name: str, known: list[str]) -> UserError:
    """Return the error for a setting that does not exist: what it is called here, or the nearest known name."""
    near = difflib.get_close_matches(name, known, n=1)
    elsewhere = "--help lists the settings" if known else "there are no settings"
    hint = advice_for_name(name, known) or (f"did you mean {near[0]}?" if near else elsewhere)
    return UserError(f"unknown setting {name}; {hint}")


def flag_names(cls: type[Any]) -> list[str]:
    """Return the names of the settings that are given as flags."""
    return [field.name for field in dataclasses.fields(cls) if not field.metadata["positional"]]


def typed_values(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert texts of flags or values of YAML to the types of the fields of the dataclass `cls`.

    Raises:
        UserError: For an unknown name, a value of the wrong type, or one out of bounds.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    annotations = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise unknown_setting(str(name), flag_names(cls))
    return {name: _convert(fields[name], annotations[name], value) for name, value in values.items()}


def from_flags(cls: type[Settings], flags: Mapping[str, Any]) -> Settings:
    """Return a `cls` from the flags of a command line, as `typed_values` converts them.

    Raises:
        UserError: As `typed_values`, and for a required setting that is missing.
    """
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.metadata["required"] and field.name not in flags:
            raise UserError(f"{field.name}: expected --{field.name}=…: {field.metadata['help'].rstrip('.')}")
    return cls(**typed_values(cls, flags))


def needs_value(cls: type[Any], name: str) -> bool:
    """Return True for a setting of free text: `--name` without a value would otherwise mean the text True."""
    annotation = typing.get_type_hints(cls).get(name)
    metadata = {field.name: field.metadata for field in dataclasses.fields(cls)}
    return annotation in (str, tuple[str, ...]) and not metadata[name]["parse"] and not metadata[name]["choices"]


def is_switch(cls: type[Any], name: str) -> bool:
    """Return True for a setting that is true or false."""
    return typing.get_type_hints(cls).get(name) is bool


def show(value: Any) -> str:
    """Return a setting's value as a person would type it."""
    if value is None:
        return AUTO
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and not isinstance(value, ImageSize):
        return ",".join(show(item) for item in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
