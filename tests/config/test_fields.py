"""Fields of settings: conversion, bounds, errors and help."""

import math
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgan_dist.config.fields import from_flags, setting, show, typed_values, unknown_name
from wgan_dist.utils.errors import UserError


def _even(value: Any) -> int:
    if int(value) % 2:
        raise ValueError("an even number")
    return int(value)


@dataclass(frozen=True)
class AllKinds:
    flag: bool = setting(False, "a switch", group="The first")
    whole: int = setting(7, "a count", least=-3)
    number: float = setting(0.5, "a share", above=0, below=1)
    word: str = setting("", "a text")
    kind: str = setting("one", "a choice", choices=("one", "two"))
    names: tuple[str, ...] = setting(("a", "b"), "some texts", group="The second")
    pair: tuple[float, float] = setting((0.0, 0.9), "two shares", least=0, below=1)
    perhaps: int | None = setting(None, "a count, or the program's choice", least=1)
    even: int = setting(4, "a count with a parser", parse=_even)
    size: int | None = setting(None, "one of some sizes", choices=(1, 3))
    seed: int = setting(0, "a large count", least=0, below=2**63)
    extras: tuple[str, ...] = setting((), "no, one or more texts")
    words: tuple[str, ...] = setting((), "arguments that are not flags", positional=True)


TRUE, FALSE = ["true", "yes", "on", "1", "TRUE"], ["false", "no", "off", "0", "No"]


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        *(("flag", text, text in TRUE) for text in TRUE + FALSE),
        ("whole", "12", 12),
        ("whole", "-3", -3),
        ("whole", "1e3", 1000),
        ("whole", "10k", 10_000),
        ("whole", "2.3M", 2_300_000),
        ("number", "1e-4", 1e-4),
        ("number", "0.25", 0.25),
        ("word", "1e5", "1e5"),
        ("word", "auto", "auto"),
        ("kind", "two", "two"),
        ("names", "a/,b/", ("a/", "b/")),
        ("names", "a", ("a",)),
        ("names", " a , b ,", ("a", "b")),
        ("names", "[a, b]", ("a", "b")),
        ("pair", "0.5,0.75", (0.5, 0.75)),
        ("pair", "(0, 0.75)", (0.0, 0.75)),
        ("perhaps", "auto", None),
        ("perhaps", "3", 3),
        ("even", "6", 6),
        ("kind", "TWO", "two"),
        ("size", "3", 3),
        ("size", "auto", None),
        ("seed", "9223372036854775807", 2**63 - 1),
        ("extras", "", ()),
    ],
)
def test_a_text_becomes_the_type_of_its_field(name: str, given_value: str, expected: object) -> None:
    value = getattr(from_flags(AllKinds, {name: given_value}), name)
    assert value == expected
    assert repr(value) == repr(expected)  # 1, 1.0 and True are equal


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("flag", True, True),
        ("flag", 0, False),
        ("whole", 3, 3),
        ("whole", "1e3", 1000),  # YAML 1.1 wants 1.0e+3, so PyYAML leaves 1e3 a text
        ("number", 0.25, 0.25),
        ("number", "1e-4", 1e-4),
        ("word", 5, "5"),
        ("names", ["a,b", "c"], ("a,b", "c")),
        ("names", "a", ("a",)),
        ("pair", [0, 0.75], (0.0, 0.75)),
        ("perhaps", None, None),
        ("perhaps", 2, 2),
    ],
)
def test_a_yaml_value_becomes_the_type_of_its_field(name: str, given_value: object, expected: object) -> None:
    value = typed_values(AllKinds, {name: given_value})[name]
    assert value == expected
    assert repr(value) == repr(expected)


@pytest.mark.parametrize(
    ("name", "given_value", "accepted"),
    [
        ("flag", "maybe", "true or false"),
        ("flag", 2, "true or false"),
        ("flag", None, "true or false"),
        ("whole", "1.5", "a whole number"),
        ("whole", "ten", "a whole number"),
        ("whole", "", "a whole number"),
        ("whole", "inf", "a whole number"),
        ("whole", "k", "a whole number"),
        ("whole", "1.2345k", "a whole number"),
        ("whole", "1e999999", "a whole number"),
        ("whole", True, "a whole number"),
        ("whole", None, "a whole number"),
        ("whole", [1], "a whole number"),
        # Python's int and float accept these; settings do not.
        *(("whole", text, "a whole number") for text in ("0_8", "1_000", "\N{FULLWIDTH DIGIT EIGHT}", "1__0k")),
        *(("number", text, "a number") for text in ("0_8", "1_0.5", "1e1_0", "\N{FULLWIDTH DIGIT EIGHT}", "infinity")),
        ("number", "1e999", "a number"),
        ("number", "a", "a number"),
        ("number", "nan", "a number"),
        ("number", "-inf", "a number"),
        ("number", False, "a number"),
        ("number", None, "a number"),
        ("word", ["a"], "text"),
        ("word", None, "text"),
        ("kind", "three", "one of one, two"),
        ("names", "", "one or more values"),
        ("names", [], "one or more values"),
        ("names", [["a"]], "text"),
        ("pair", "0.5", "2 values separated by commas"),
        ("pair", [0.1, 0.2, 0.3], "2 values separated by commas"),
        ("pair", "a,b", "a number"),
        ("perhaps", "none", "a whole number"),
        ("even", "5", "an even number"),
        ("size", "2", "one of 1, 3"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(name: str, given_value: object, accepted: str) -> None:
    with pytest.raises(UserError) as error:
        typed_values(AllKinds, {name: given_value})
    assert str(error.value) == f"{name}={given_value}: expected {accepted}"


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(UserError, match="number=1000"):
        typed_values(AllKinds, {"number": 10**400})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("whole", "-3"),
        ("number", repr(math.nextafter(0, 1))),
        ("number", repr(math.nextafter(1, 0))),
        ("pair", "0,0.999"),
        ("perhaps", "1"),
    ],
)
def test_a_value_at_the_edge_of_its_bounds_is_accepted(name: str, text: str) -> None:
    assert name in typed_values(AllKinds, {name: text})


@pytest.mark.parametrize(
    ("name", "text", "accepted"),
    [
        ("whole", "-4", "at least -3"),
        ("number", "0", "more than 0"),
        ("number", "1", "less than 1"),
        ("pair", "-0.1,0", "at least 0"),
        ("pair", "0,1", "less than 1"),
        ("perhaps", "0", "at least 1"),
        ("seed", "9223372036854775808", "less than 9223372036854775808"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, text: str, accepted: str) -> None:
    with pytest.raises(UserError) as error:
        from_flags(AllKinds, {name: text})
    assert str(error.value) == f"{name}={text}: expected {accepted}"


def test_brackets_belong_to_a_name_unless_they_enclose_the_list() -> None:
    assert from_flags(AllKinds, {"names": "photos (1)"}).names == ("photos (1)",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nb/{a,b{0,1}}.tar", ("nb/{a,b{0,1}}.tar",)),
        ("a,{b,{c,d},{e,{f,g}}},h", ("a", "{b,{c,d},{e,{f,g}}}", "h")),
        ("{a,b},{c,d}", ("{a,b}", "{c,d}")),
        ("a{b,c", ("a{b", "c")),
        ("a},b", ("a}", "b")),
        ("a{b,c{d,e}f,g", ("a{b", "c{d,e}f", "g")),
        ("{a,b}},c", ("{a,b}}", "c")),
    ],
)
def test_a_comma_within_braces_of_any_depth_separates_nothing(text: str, expected: tuple[str, ...]) -> None:
    assert from_flags(AllKinds, {"names": text}).names == expected


def test_an_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^unknown setting wole; did you mean whole\?$"):
        from_flags(AllKinds, {"whole": "1", "wole": "2"})


def test_an_unknown_name_without_a_neighbour_lists_what_is_known() -> None:
    assert str(unknown_name("animal", "xyz", ["cat", "dog"])) == "unknown animal xyz; known are: cat, dog"


# Without commas, which separate names, and brackets, which may enclose a list.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters=",()[]{\0"), min_size=1).map(str.strip).filter(bool)
SHARES = st.floats(0, 1, exclude_max=True)


@settings(deadline=None)
@given(
    st.builds(
        AllKinds,
        flag=st.booleans(),
        whole=st.integers(-3, 2**53),
        number=st.floats(0, 1, exclude_min=True, exclude_max=True),
        word=st.text(st.characters(exclude_characters="\0")),
        kind=st.sampled_from(["one", "two"]),
        names=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
        pair=st.tuples(SHARES, SHARES),
        perhaps=st.none() | st.integers(1, 2**53),
        even=st.integers(0, 100).map(lambda half: 2 * half),
    )
)
def test_what_is_shown_can_be_typed_back(value: AllKinds) -> None:
    assert from_flags(AllKinds, {name: show(shown) for name, shown in vars(value).items()}) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "auto"), (True, "true"), (1e-4, "0.0001"), (10.0, "10"), (("a", "b"), "a,b"), ((0.0, 0.9), "0,0.9")],
)
def test_a_value_is_shown_as_a_person_would_type_it(value: object, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize("text", ["1" * 60_000 + "x", "1" * 5_000])
def test_a_text_of_very_many_digits_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(UserError, match="expected"):
        typed_values(AllKinds, {"whole": text})
    assert time.process_time() - started < 2.0
