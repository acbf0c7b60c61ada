"""The YAML loader: plain values exactly as written, and refusals that name the line."""

from __future__ import annotations

import math

import pytest
from gan.errors import UsageError
from gan.recipe import parse_yaml
from gan.storage.strict_yaml import MAX_DEPTH, dump_yaml, load_yaml
from hypothesis import example, given
from hypothesis import strategies as st

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: depth(value) <= MAX_DEPTH)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(_values)
@example("a\x85b")
@example(["\u2028", "ü"])
def test_what_is_dumped_is_loaded_again(value):
    assert load_yaml(dump_yaml(value)) == value


def test_scalars_have_types_or_stay_strings():
    text = "version: 1.10\ncount: 3\nday: 2026-01-02\noff: false\nnothing: ~\nlr: 2.0e-04\nnan: .nan\n1: x"
    typed = load_yaml(text)
    assert math.isnan(typed.pop("nan"))
    assert typed == {
        "version": 1.1, "count": 3, "day": "2026-01-02", False: False, "nothing": None, "lr": 2e-4, 1: "x",
    }  # fmt: skip
    assert load_yaml(text, typed=False) == {
        "version": "1.10", "count": "3", "day": "2026-01-02", "off": "false", "nothing": None, "lr": "2.0e-04",
        "nan": ".nan", "1": "x",
    }  # fmt: skip
    assert load_yaml("") is None


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is repeated"),
        ("a: &x 1\nb: *x", "line 1: anchors and aliases are not allowed"),
        ("a: 1\nb: *x", "line 2: "),
        ("a: !!python/object/apply:os.system [ls]", "line 1: tags are not allowed"),
        ("a: 1\n[b, c]: 2", "line 2: a key must be a scalar"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "line 1: nested too deeply"),
        ("[" * 100_000, "line 1: (nested too deeply|exceeded maximum nesting depth)"),
        ("a: [1\n", "line 2: "),
        ("a: 1\n---\nb: 2", "line 2: "),
        ("a: \x00", "special characters are not allowed|control characters"),
        ("a: \ud800", "surrogates"),
    ],
)
def test_anything_else_is_refused_with_its_line(text, complaint, typed):
    with pytest.raises(ValueError, match=complaint):
        load_yaml(text, typed=typed)


def test_dates_are_texts_and_impossible_numbers_are_mistakes_in_the_recipe():
    assert parse_yaml("day: 2026-02-30", "recipe.yaml") == {"day": "2026-02-30"}
    with pytest.raises(UsageError, match=r"recipe\.yaml: line 2: "):
        parse_yaml("seed: 1\nbatch: 0x_", "recipe.yaml")
