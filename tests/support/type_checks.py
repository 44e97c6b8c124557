"""The type checker that tests put on every function (see conftest.py): beartype.

An int passes for a float, as in PEP 484, and whatever can be written to for a text stream.
"""

from typing import Protocol, TextIO, runtime_checkable

from beartype import BeartypeConf, FrozenDict, beartype


@runtime_checkable
class Writable(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


checked = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({TextIO: Writable})))
