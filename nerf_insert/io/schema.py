"""Parse plain data (what YAML and JSON hold) into frozen dataclasses, with errors that name the key.

A field's annotation says what it takes; `msgspec.Meta` adds ranges, lengths and a description for messages.
Numbers stay as they were written, an integer where a float is expected included, so that a digest of the
data does not depend on the parser.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from nerf_insert.errors import InputError

T = TypeVar("T")

LARGEST = 1.7976931348623157e308
Real = int | float
Number = Annotated[Real, Meta(ge=-LARGEST, le=LARGEST)]  # finite
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


class Checked:
    """A base of frozen dataclasses whose fields are checked, and brought to their types, when one is made.

    Raises:
        InputError: A value is not what its field takes.
    """

    def __post_init__(self) -> None:
        for name, kind in _types(type(self)).items():
            object.__setattr__(self, name, parse(getattr(self, name), kind, name))


def parse(data: Any, kind: Any, where: str) -> Any:
    """Check plain data against a type and bring it to that type.

    Args:
        data: Built-in types, mappings and lists of them; paths, NumPy arrays and tensors are converted.
        kind: A type annotation: a scalar, `Literal`, `list`, `tuple`, `dict[str, ...]`, a dataclass, a class
            with its own `parse(data, where)`, unions of these, each perhaps with `msgspec.Meta`.
        where: The key path of `data`, for messages.

    Raises:
        InputError: `data` is not of the type; the message names the key and says what it must be.
    """
    kind = _scalar(kind)
    bare, origin = _bare(kind), get_origin(_bare(kind))
    if bare is Any:
        return data
    if isinstance(bare, type) and isinstance(data, bare) and is_dataclass(data):
        return data
    if hasattr(data, "tolist"):
        data = data.tolist()
    elif isinstance(data, os.PathLike):
        data = os.fspath(data)
    if origin in (Union, UnionType):
        return _parse_union(data, kind, where)
    if origin in (list, tuple):
        return _parse_sequence(data, kind, where)
    if origin is dict:
        return _parse_dict(data, kind, where)
    if hasattr(bare, "parse"):
        return bare.parse(data, where)
    if isinstance(bare, type) and is_dataclass(bare):
        return parse_fields(data, bare, where)
    try:
        msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter: half of a pair of surrogates
        raise wrong(data, kind, where) from None
    return data


def parse_fields(data: Any, kind: type[T], where: str) -> T:
    """Make a dataclass from a mapping of its fields' names to their values.

    Raises:
        InputError: The mapping has a key that is no field, lacks a field without a default, or a value is
            not what its field takes.
    """
    data = mapping(data, where or "it")
    known = _fields(kind)
    check_keys(data, known, where or "it")
    values = {}
    for name, field in known.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if name in data or required:
            path = f"{where}.{name}" if where else name
            values[name] = parse(data.get(name), _types(kind)[name], path)
    return kind(**values)


def mapping(data: Any, where: str) -> Mapping:
    """Return `data` if it is a mapping.

    Raises:
        InputError: It is not.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be a mapping of names to values, not {show(data)}")
    return data


def check_keys(data: Mapping, known: Iterable[str], where: str) -> None:
    """Refuse keys that are not known.

    Raises:
        InputError: A key is unknown; the message suggests the closest known one.
    """
    known = [*known]
    for key in data:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; it may have {', '.join(known)}"
            raise InputError(f"{where} has no {key!r}{hint}")


def to_plain(value: Any) -> Any:
    """Turn dataclasses into dicts and tuples into lists, all the way down."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def describe(kind: Any) -> str:
    """Say in words what a type annotation takes: "a number between 0 and 1"."""
    kind = _scalar(kind)
    meta, bare = _meta(kind), _bare(kind)
    if meta.description:
        return meta.description
    origin, arguments = get_origin(bare), get_args(bare)
    if origin in (Union, UnionType):
        return " or ".join(describe(option) for option in arguments if option is not NoneType)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)} {_plural(describe(arguments[0]))}"
    if origin in (list, tuple):
        return f"a list of {_plural(describe(arguments[0]))}"
    return WORDS.get(bare, "a mapping of names to values") + _limits(meta)


def show(data: Any) -> str:
    """Return `data` as messages quote it, not too long."""
    return "nothing" if data is None else repr(data)[:60]


def wrong(data: Any, kind: Any, where: str) -> InputError:
    """Return the error for a value that is not of a type."""
    return InputError(f"{where} must be {describe(kind)}, not {show(data)}")


def _parse_union(data: Any, kind: Any, where: str) -> Any:
    options = get_args(_bare(kind))
    if data is None and NoneType in options:
        return None
    options = [option for option in options if option is not NoneType]
    if len(options) > 1:  # a single value or several
        several = isinstance(data, list | tuple)
        options = [option for option in options if (get_origin(_bare(option)) in (list, tuple)) == several]
        if several != isinstance(data, list | tuple) or not options:
            raise wrong(data, kind, where)
    return parse(data, options[0], where)


def _parse_sequence(data: Any, kind: Any, where: str) -> Any:
    origin, arguments, meta = get_origin(_bare(kind)), get_args(_bare(kind)), _meta(kind)
    fixed = origin is tuple and Ellipsis not in arguments
    low, high = (len(arguments),) * 2 if fixed else (meta.min_length or 0, meta.max_length)
    if not isinstance(data, list | tuple) or len(data) < low or (high is not None and len(data) > high):
        raise wrong(data, kind, where)
    return origin(parse(item, arguments[0], f"{where}[{index}]") for index, item in enumerate(data))


def _parse_dict(data: Any, kind: Any, where: str) -> dict[str, Any]:
    parsed = {}
    for key, item in mapping(data, where).items():
        if not isinstance(key, str):
            raise InputError(f"the names in {where} must be text, not {show(key)}: put it in quotes")
        parsed[key] = parse(item, get_args(_bare(kind))[1], f"{where}.{key}")
    return parsed


def _scalar(kind: Any) -> Any:
    """Replace `int | float` by float, which msgspec takes to mean both, and takes ranges for."""
    if _bare(kind) != Real:
        return kind
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return Annotated[(float, *extras)] if extras else float


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _meta(kind: Any) -> Meta:
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Meta)), Meta())


def _limits(meta: Meta) -> str:
    low = None if meta.ge is None or meta.ge == -LARGEST else f"{meta.ge:.12g}"
    high = None if meta.le is None or meta.le == LARGEST else f"{meta.le:.12g}"
    if meta.gt is not None:
        return f" above {meta.gt:.12g}" + (f", at most {high}" if high else "")
    if low and high:
        return f" between {low} and {high}"
    return f" of at least {low}" if low else f" of at most {high}" if high else ""


def _plural(words: str) -> str:
    article, _, rest = words.partition(" ")
    noun, space, limits = rest.partition(" ") if article in ("a", "an") else (words, "", "")
    return noun + ("s" if article in ("a", "an") else "") + space + limits


@cache
def _types(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in _fields(kind)}


@cache
def _fields(kind: type) -> dict[str, Field]:
    return {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
