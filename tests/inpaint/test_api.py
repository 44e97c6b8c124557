"""The inpainter contract: subclasses, other people's objects, attributes of the version before."""

from pathlib import Path

import pytest

from nerf_insert.errors import InputError, RunError
from nerf_insert.inpaint.api import Inpainter, as_inpainter
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.registry import load_inpainter


class Minimal:
    """The smallest object that is an inpainter."""

    def inpaint(self, views, guide, *, strength, seed):
        return [view.original for view in views]


class Former(Minimal):
    """Has the attribute names and values of version 0.1."""

    shell, uses_render = 0.1, True


class LateChoice(Minimal):
    """Knows its attributes only once it has been checked."""

    def check(self, guide):
        self.batch, self.settled = 2, {"model": "small"}


class Subclass(Inpainter, Minimal):
    rounds, uses_render = 2, "mask"
    inpaint = Minimal.inpaint


class Unfinished(Inpainter):
    """Lacks the method."""


def attributes(inpainter):
    names = ("rounds", "batch", "consistent", "view_dependent", "blend_width", "uses_render", "settled")
    return {name: getattr(inpainter, name) for name in names}


def test_an_object_with_the_method_alone_gets_the_defaults():
    adapted = as_inpainter(Minimal())
    assert isinstance(adapted, Inpainter) and attributes(adapted) == attributes(Inpainter)
    adapted.check(Guide())
    assert adapted.inpaint([], Guide(), strength=1.0, seed=0) == []


def test_a_subclass_is_used_as_it_is():
    made = Subclass()
    assert as_inpainter(made) is made
    assert attributes(made) == attributes(Inpainter) | {"rounds": 2, "uses_render": "mask"}


@pytest.mark.parametrize(("given", "meant"), [(True, "full"), (False, "none"), ("mask", "mask")])
@pytest.mark.parametrize("base", [Minimal, Subclass])
def test_names_and_values_of_the_version_before(base, given, meant):
    made = base()
    made.shell, made.uses_render = 0.1, given
    adapted = as_inpainter(made)
    assert adapted.blend_width == 0.1 and adapted.uses_render == meant


def test_attributes_may_be_decided_in_check():
    adapted = as_inpainter(LateChoice())
    assert adapted.batch is None and adapted.settled == {}
    adapted.check(Guide())
    assert adapted.batch == 2 and adapted.settled == {"model": "small"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", 0),
        ("rounds", 1.5),
        ("rounds", True),
        ("batch", 0),
        ("blend_width", 0.9),
        ("blend_width", "wide"),
        ("shell", float("nan")),
        ("uses_render", "some"),
        ("uses_render", 1),
        ("uses_render", [True]),
    ],
)
@pytest.mark.parametrize("base", [Minimal, Subclass])
def test_impossible_attributes_are_refused_by_name(base, key, value):
    made = base()
    setattr(made, key, value)
    with pytest.raises(RunError, match=f"the inpainter {base.__name__} has {key} = "):
        as_inpainter(made)


def test_a_subclass_without_the_method_is_no_inpainter(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    with pytest.raises(InputError, match="no method inpaint"):
        load_inpainter("test_api:Unfinished")
    assert isinstance(load_inpainter("test_api:Former"), Inpainter)
