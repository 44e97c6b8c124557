"""Optional dependencies that are missing."""

import sys

import pytest

from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require


def test_an_installed_module_passes_and_is_not_imported():
    sys.modules.pop("this", None)
    require("this", "app")
    assert "this" not in sys.modules


def test_a_missing_module_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"the web page needs Gradio: pip install 'nerf-insert\[app\]'"):
        require("gradio", "app")
    with pytest.raises(InputError, match=r"^eval needs no_such_module: .*nerf-insert\[diffusion\]"):
        require("no_such_module", "diffusion", "eval")
