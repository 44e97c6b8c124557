"""Optional dependencies, which `pip install 'nerf-insert[EXTRA]'` installs."""

from __future__ import annotations

from importlib.util import find_spec

from nerf_insert.errors import InputError

PURPOSES = {  # extra -> what needs it
    "app": "the web page",
    "diffusion": "the inpainter diffusion",
    "remote": "an inpainter on another machine",
    "ray": "running jobs with Ray",
    "nerfstudio": "working with nerfstudio's runs and methods",
    "splats": "reading and writing compressed splat files",
}
TITLES = {
    "gradio": "Gradio",
    "huggingface_hub": "huggingface-hub",
    "pxr": "usd-core",
    "ray": "Ray",
}  # module -> name to show


def require(module: str, extra: str, purpose: str | None = None) -> None:
    """Check that an optional dependency is installed, without importing it.

    Call it before the import statement, so that a missing package ends in one sentence.

    Args:
        module: Top-level name of the module, such as "gradio".
        extra: The extra of this package that installs it, such as "app".
        purpose: What needs the module, for the message; by default that of the extra.

    Raises:
        InputError: The module is not installed; the message gives the command that installs it.
    """
    if find_spec(module) is None:
        raise InputError(
            f"{purpose or PURPOSES[extra]} needs {TITLES.get(module, module)}: "
            f"pip install 'nerf-insert[{extra}]'"
        )
