"""Plain data to dataclasses: what is taken, what is refused, and in which words."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from msgspec import Meta

from nerf_insert.errors import InputError
from nerf_insert.io import schema
from nerf_insert.io.schema import Number, describe, parse, to_plain

Fraction = Annotated[int | float, Meta(ge=0, le=1)]
Triple = tuple[Number, Number, Number]


@dataclass(frozen=True)
class Part(schema.Checked):
    size: Annotated[int | float, Meta(gt=0)]
    names: Annotated[tuple[str, ...], Meta(min_length=1)] = ("a",)


@dataclass(frozen=True)
class Whole(schema.Checked):
    part: Part
    where: Triple = (0, 0, 0)
    how: Literal["fast", "slow"] = "fast"
    files: str | list[str] | None = None
    masks: dict[str, str] = field(default_factory=dict)
    count: Annotated[int, Meta(ge=1)] | None = None
    anything: Any = None


PLAIN = {
    "part": {"size": 1, "names": ["a", "b"]},
    "where": [1, 2.5, -3],
    "how": "slow",
    "files": ["x", "y"],
    "masks": {"v": "m"},
    "count": 3,
    "anything": [{"x": None}],
}


def test_plain_data_goes_there_and_back():
    made = parse(PLAIN, Whole, "whole")
    assert made == Whole(Part(1, ("a", "b")), (1, 2.5, -3), "slow", ["x", "y"], {"v": "m"}, 3, [{"x": None}])
    assert to_plain(made) == PLAIN
    assert parse({"part": {"size": 1}}, Whole, "") == Whole(Part(1))


@pytest.mark.parametrize("number", [3, 3.0, -(2**70), 0.1])
def test_numbers_stay_as_they_were_written(number):
    assert type(parse(number, Number, "n")) is type(number)


def test_paths_arrays_and_tensors_are_converted():
    assert parse(Path("a") / "b", str, "file") == str(Path("a") / "b")
    assert parse(np.array([1.0, 2.0, 3.0]), Triple, "p") == (1.0, 2.0, 3.0)
    assert parse(torch.ones(3), Triple, "p") == (1.0, 1.0, 1.0)


WRONG = [
    ({}, "part must be a mapping of names to values, not nothing"),
    ({"part": {"size": 0}}, "part.size must be a number above 0, not 0"),
    ({"part": {"size": 1, "names": []}}, "part.names must be a list of text, not []"),
    ({"part": {"size": 1, "names": ["a", 2]}}, "part.names[1] must be text, not 2"),
    ({"part": {"size": 1, "sise": 1}}, "part has no 'sise'; did you mean size?"),
    ({"part": {"size": 1}, "xyz": 1}, "has no 'xyz'; it may have part, where, how"),
    ({"part": {"size": 1}, "where": [0, 0]}, "where must be a list of 3 numbers, not [0, 0]"),
    ({"part": {"size": 1}, "where": [0, 0, math.inf]}, "where[2] must be a number, not inf"),
    ({"part": {"size": 1}, "how": "soon"}, "how must be one of fast, slow, not 'soon'"),
    ({"part": {"size": 1}, "files": 3}, "files must be text"),
    ({"part": {"size": 1}, "files": {"a": 1}}, "files must be text"),
    ({"part": {"size": 1}, "masks": {3: "a"}}, "the names in masks must be text, not 3: put it in quotes"),
    ({"part": {"size": 1}, "masks": {"v": None}}, "masks.v must be text, not nothing"),
    ({"part": {"size": 1}, "count": 0}, "count must be a whole number of at least 1, not 0"),
    ({"part": {"size": 1}, "count": True}, "count must be a whole number of at least 1, not True"),
    ({"part": {"size": 1}, "count": 1.0}, "count must be a whole number of at least 1, not 1.0"),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_wrong_is_named(data, message):
    with pytest.raises(InputError) as error:
        parse(data, Whole, "")
    assert message in str(error.value)


def test_the_path_begins_with_the_given_name():
    with pytest.raises(InputError, match=r"^job\.part\.size must be"):
        parse({"part": {"size": "1"}}, Whole, "job")


def test_objects_check_themselves():
    with pytest.raises(InputError, match="size must be a number above 0"):
        Part(-1)
    part = Part(1)
    assert parse(part, Part, "part") is part


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (Fraction, "a number between 0 and 1"),
        (Fraction | None, "a number between 0 and 1"),
        (str | list[str], "text or a list of text"),
        (list[Number], "a list of numbers"),
        (Triple, "a list of 3 numbers"),
        (tuple[Fraction, Fraction], "a list of 2 numbers between 0 and 1"),
        (Annotated[str, Meta(description="a color")], "a color"),
        (Literal[1, 2], "one of 1, 2"),
        (dict[str, int], "a mapping of names to values"),
        (bool, "true or false"),
    ],
)
def test_types_in_words(kind, words):
    assert describe(kind) == words


def test_half_of_a_pair_of_surrogates_is_no_text():
    with pytest.raises(InputError, match="how must be"):
        parse("\ud800", Literal["fast", "slow"], "how")
