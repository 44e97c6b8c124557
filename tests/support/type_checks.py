"""The type checker that tests put on every function (see conftest.py): beartype.

An int passes for a float, as in PEP 484, and whatever can be written to for a text stream.
"""

import dataclasses
import functools
import inspect
from importlib.machinery import SourceFileLoader
from types import FunctionType, SimpleNamespace
from typing import Any, Protocol, TextIO, get_type_hints, runtime_checkable
from unittest.mock import patch

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import _import_hook, jaxtyped


@runtime_checkable
class Writable(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


checked = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({TextIO: Writable})))


class Loader(_import_hook._JaxtypingLoader):
    """Looks for bytecode with the checks for its own module alone.

    jaxtyping's looks for it while the module runs, thus also for all libraries that it imports: each process
    would compile gradio and its like from source.
    """

    def exec_module(self, module):
        SourceFileLoader.exec_module(self, module)

    def get_code(self, fullname):
        place = functools.partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
        with patch("importlib._bootstrap_external.cache_from_source", place):
            return super().get_code(fullname)


def checked_once(typechecker):
    """Stand in for `jaxtyping.jaxtyped`, which looks at the arguments of every call twice: once is enough.

    In array annotations, sizes of one name agree among arguments and result of a call. Generators are left to
    jaxtyping: a size has to be known while their body runs.
    """
    sized = jaxtyped(typechecker=typechecker)

    def decorate(thing):
        if inspect.isclass(thing):
            if dataclasses.is_dataclass(thing) and isinstance(thing.__init__, FunctionType):
                thing.__init__ = decorate(thing.__init__)
            return thing
        if inspect.isgeneratorfunction(thing) or inspect.iscoroutinefunction(thing):
            return sized(thing)
        strict = typechecker(_with_known_annotations(thing))

        @functools.wraps(thing)
        def call(*args, **kwargs):
            with jaxtyped("context"):
                return strict(*args, **kwargs)

        return call

    return decorate


def _with_known_annotations(function):
    """Copy a function; annotations that name what is not imported, or defined only later, are Any."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(copy, function)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = {
        name: _known(hint, function.__globals__) for name, hint in function.__annotations__.items()
    }
    del copy.__wrapped__
    return copy


def _known(hint, names):
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": hint}), names, include_extras=True)["it"]
    except Exception:  # whatever it is that evaluating it raises
        return Any
