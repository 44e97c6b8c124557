"""Fuzzing in small: some inputs of the quick kinds. benchmarks/fuzz.py does a thousand of each."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import fuzz


class Pipe(list):
    """What the child would send."""

    def send(self, message):
        self.append(message)

    def close(self):
        pass


def outcomes(kind, count):
    pipe = Pipe()
    fuzz.child(kind, range(count), pipe)
    begun = [number for number, outcome, _ in pipe if outcome == "begin"]
    assert begun == list(range(count))
    return [message for message in pipe if message[1] != "begin"]


@pytest.mark.parametrize("kind", ["paths", "recipes", "masks", "transforms"])
def test_mutated_files_are_read_or_refused(kind):
    found = outcomes(kind, 60)
    assert [message for message in found if message[1] not in ("read", "refused")] == []
    assert {message[1] for message in found} == {"read", "refused"}
    valid = len(fuzz.seeds(kind))
    assert all(outcome == "read" for _, outcome, _ in found[:valid])


def test_what_goes_wrong_is_found(monkeypatch):
    def wrong(name, data, folder):
        fuzz.need(False, "it is no recipe")

    for reader, outcome in ((lambda *_: 1 / 0, "bug"), (wrong, "wrong")):
        monkeypatch.setitem(fuzz.READERS, "recipes", reader)
        ((_, found, text),) = outcomes("recipes", 1)
        assert found == outcome and "recipe.yaml" in text
