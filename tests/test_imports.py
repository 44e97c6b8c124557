"""What importing costs: the light modules stay light, and heavy libraries are imported where they are used.

That imports run one way is checked by `make lint` (import-linter, contracts in pyproject.toml).
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nerf_insert
import nerf_insert.kernels

PACKAGE = Path(nerf_insert.__file__).parent
KERNELS = Path(nerf_insert.kernels.__file__).parent
USERS = ("inpaint/diffusion", "hub", "evaluation/clip_metrics")  # of diffusers and transformers, in functions
LATE = ("gradio", "diffusers", "transformers", "nerfstudio.models", "nerfstudio.pipelines")


def imports(file: Path) -> set[str]:
    """Return the full names that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: import by the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def heavy_imports(root: Path) -> list[str]:
    """List the imports of LATE libraries below a folder, outside the modules that use them."""
    found = []
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if not name.startswith((*USERS, "plugin", "app")):
            found += [f"{name}: {i}" for i in imports(file) if any(f"{i}.".startswith(f"{x}.") for x in LATE)]
    return found


def test_heavy_libraries_are_imported_only_where_they_are_used():
    assert heavy_imports(PACKAGE) == [] and heavy_imports(KERNELS) == []


def test_a_heavy_import_would_be_found(tmp_path):
    (tmp_path / "scene.py").write_text(
        "def late():\n    from nerfstudio.models.nerfacto import NerfactoModel\n"
    )
    (tmp_path / "plugin.py").write_text("import gradio\n")
    assert heavy_imports(tmp_path) == ["scene.py: nerfstudio.models.nerfacto.NerfactoModel"]


# --- what importing costs


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import nerf_insert",
        "import nerf_insert.errors, nerf_insert.io.files, nerf_insert.scene.recipe",
        "import nerf_insert.scene.scene, nerf_insert.cli.main, nerf_insert.inpaint.registry",
        "from nerf_insert.inpaint.diffusion.inventory import survey; survey()",
    ],
)
def test_light_imports_stay_light(statement):
    heavy = {"torch", "nerfstudio", "numba", "trimesh", "scipy", "av", "gradio", "diffusers"}
    assert loaded_by(statement).isdisjoint(heavy)


def test_the_engine_loads_no_models_and_no_page():
    loaded = loaded_by(
        "import nerf_insert.editing.loop, nerf_insert.training.scene_trainer, nerf_insert.evaluation.evaluate"
    )
    assert "torch" in loaded and loaded.isdisjoint(LATE)
    assert "nerf_insert.kernels" in loaded and "kernels" not in loaded  # that name is Hugging Face's
