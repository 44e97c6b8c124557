"""Load inpainters by name: built-in ones, those that other packages register, anybody's own class."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.inpaint.api import Inpainter

GROUP = "nerf_insert.inpainters"
ADDRESSES = ("http://", "https://")  # how the name of an inpainter on another machine begins
REMOTE = "nerf_insert.inpaint.remote.client:RemoteInpainter"
ONLY_REGISTERED = "NERF_INSERT_ONLY_REGISTERED"  # set where recipes may come from strangers


def load_inpainter(name: str, options: dict[str, Any] | None = None) -> Inpainter:
    """Create the inpainter of a registered name, of `package.module:Class` or of a server's address.

    Modules are also found in the current folder, as with `python -m`. If the environment variable
    NERF_INSERT_ONLY_REGISTERED is set, only registered names are accepted.

    Args:
        name: A name registered under the entry-point group `nerf_insert.inpainters`, `package.module:Class`,
            or the address of `nerf-insert serve-inpainter`. An object that is no `Inpainter` is adapted to
            one.
        options: Arguments of the class.

    Raises:
        InputError: There is no such inpainter, its module fails on import, it does not take these options,
            or it has no method `inpaint`.
        RunError: An attribute of it has an impossible value.
    """
    from nerf_insert.inpaint.api import as_inpainter  # which loads torch

    registered = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    if name not in registered and os.environ.get(ONLY_REGISTERED):
        raise InputError(f"there is no inpainter {name!r} here: use one of {', '.join(sorted(registered))}")
    options = options or {}
    where = registered.get(name, name)
    if name.startswith(ADDRESSES):
        where, options = REMOTE, {"url": name, **options}
    module_name, _, class_name = where.partition(":")
    if not module_name or not class_name:
        known = ", ".join(sorted(registered))
        raise InputError(
            f"there is no inpainter {name!r}: use one of {known}, your own as package.module:Class, or the "
            "address of one on another machine, http://HOST:PORT"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made_by = attrgetter(class_name)(importlib.import_module(module_name))
    except ModuleNotFoundError as cause:
        raise InputError(f"inpainter {name!r}: there is no module {cause.name}") from cause
    except AttributeError:
        raise InputError(f"inpainter {name!r}: {module_name} has no {class_name}") from None
    except Exception as cause:
        raise InputError(f"inpainter {name!r}: {module_name} fails on import: {cause!r}") from cause
    try:
        inspect.signature(made_by).bind(**options)
    except TypeError as cause:
        raise InputError(f"inpainter {name!r} does not take these options: {cause}") from None
    except ValueError:  # no signature to check against
        pass
    if inspect.isabstract(made_by):
        raise _no_inpainter(name)
    inpainter = made_by(**options)
    if not callable(getattr(inpainter, "inpaint", None)):
        raise _no_inpainter(name)
    return as_inpainter(inpainter, name)


def _no_inpainter(name: str) -> InputError:
    return InputError(f"{name!r} is no inpainter: it has no method inpaint(views, guide, *, strength, seed)")
