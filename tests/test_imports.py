"""Imports run one way, as nerf_insert/__init__.py lists the rooms, and the light ones stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nerf_insert

PACKAGE = Path(nerf_insert.__file__).parent
KERNELS = PACKAGE.parent / "kernels" / "src"  # installed as nerf_insert.kernels
APP = PACKAGE.parent / "app"  # installed as nerf_insert.app
USERS = ("inpaint.diffusion", "clip_model")  # of diffusers and transformers, inside functions
LATE = ("gradio", "diffusers", "transformers", "nerfstudio.models", "nerfstudio.pipelines")


# --- the graph of imports, read from the source


def modules(package: Path, kernels: Path, app: Path) -> dict[str, Path]:
    """Every module's name without nerf_insert, and its file."""
    found = {}
    for root, prefix in ((package, ""), (kernels, "kernels"), (app, "app")):
        for file in sorted(root.rglob("*.py")):
            parts = [*filter(None, [prefix]), *file.relative_to(root).with_suffix("").parts]
            if root == package and parts[0] in ("kernels", "app"):  # links to the other folders
                continue
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> set[str]:
    """What a file imports anywhere in it, but for what only type checkers see."""
    names, todo = set(), [ast.parse(file.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: import by the whole name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        todo += ast.iter_child_nodes(node)
    return names


def graph(package: Path = PACKAGE, kernels: Path = KERNELS, app: Path = APP) -> dict[str, set[str]]:
    """Which of our modules each of them imports."""
    known = modules(package, kernels, app)
    edges = {}
    for name, file in known.items():
        edges[name] = set()
        for imported in imports(file):
            if imported.split(".")[0] == "nerf_insert":
                target = imported.partition(".")[2]
                edges[name].add(target if target in known else target.rpartition(".")[0])
    return edges


def rooms(text: str) -> dict[str, int]:
    """The rooms in the package's docstring and their floors, bottom to top."""
    lists = re.findall(r"^    ([a-z, ]+?)  +\S", text, re.MULTILINE)
    return {name: floor for floor, line in enumerate(lists) for name in line.split(", ")}


def room(module: str, floors: dict[str, int]) -> str | None:
    return module.split(".")[0] if module.split(".")[0] in floors else None


def downward(edges: dict[str, set[str]], floors: dict[str, int]) -> list[str]:
    """Ways from a listed room to one above it, also through modules that the list leaves out."""
    wrong = []
    for start in edges:
        here = room(start, floors)
        seen, todo = set(), [(start, start)] if here else []
        while todo:
            module, way = todo.pop()
            for target in edges.get(module, ()):
                there = room(target, floors)
                if there and floors[there] > floors[here]:
                    wrong.append(f"{way} -> {target}")
                elif target not in seen and not there:
                    seen.add(target)
                    todo.append((target, f"{way} -> {target}"))
    return wrong


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import themselves by some way."""
    reach = {name: set(targets) for name, targets in edges.items()}
    for middle in reach:
        for targets in reach.values():
            if middle in targets:
                targets |= reach[middle]
    return [name for name, targets in reach.items() if name in targets]


def outside(edges: dict[str, set[str]], floors: dict[str, int]) -> list[str]:
    """Imports of the command line elsewhere, of the page but by its command, and by kernels of anything
    but kernels and errors."""
    wrong = [
        f"{name} -> {target}"
        for name, targets in edges.items()
        for target in targets
        if (room(target, floors) == "cli" and room(name, floors) != "cli" and name != "__main__")
        or (room(target, floors) == "app" and room(name, floors) != "app" and name != "cli.app")
    ]
    return wrong + [
        f"{name} -> {target}"
        for name, targets in edges.items()
        if room(name, floors) == "kernels"
        for target in targets
        if room(target, floors) not in ("kernels", "errors")
    ]


def test_the_list_of_rooms_is_of_rooms():
    floors, edges = rooms(nerf_insert.__doc__), graph()
    assert len(floors) > 15 and floors["kernels"] == 0 and floors["cli"] == max(floors.values())
    assert floors["cameras"] < floors["rendering"] < floors["edit"]
    assert set(floors) <= set(edges)
    assert "rendering" in edges["edit"] and "kernels.samples" in edges["kernels.marching"]


def test_imports_run_one_way():
    edges, floors = graph(), rooms(nerf_insert.__doc__)
    assert downward(edges, floors) == []
    assert outside(edges, floors) == []


def test_nothing_imports_itself():
    assert circles(graph()) == []


def test_nothing_heavy_is_imported_where_it_is_not_used():
    """Page, diffusion and nerfstudio's models: not anywhere in the engine but where they are used."""
    for name, file in modules(PACKAGE, KERNELS, APP).items():
        if name.split(".")[0] in ("plugin", "app") or name.startswith(USERS):
            continue
        heavy = [i for i in imports(file) if any(i == late or i.startswith(late + ".") for late in LATE)]
        assert heavy == [], name


def test_these_tests_can_fail(tmp_path):
    package, kernels, app = (tmp_path / name for name in ("nerf_insert", "kernels", "app"))
    for folder in (package, kernels, app):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    (package / "files.py").write_text("")
    (package / "tools.py").write_text("def late():\n    from nerf_insert.scene.scene import Scene\n")
    (package / "cameras.py").write_text("import nerf_insert.tools\n")
    (package / "scene.py").write_text("from nerf_insert import cameras, cli\n")
    (package / "cli.py").write_text("")
    (package / "base.py").write_text("import nerf_insert.app\n")
    (app / "page.py").write_text("from nerf_insert.app import steps\nimport nerf_insert.scene.scene\n")
    (kernels / "mlp.py").write_text(
        "from nerf_insert.kernels.other import x\nfrom nerf_insert.io.files import y\n"
    )
    (kernels / "other.py").write_text("if TYPE_CHECKING:\n    from nerf_insert.kernels import mlp\n")
    floors = rooms(
        "x\n\n    kernels, files   low\n    cameras    middle\n    scene      high\n"
        "    app   page\n    cli   top\n"
    )
    assert floors == {"kernels": 0, "files": 0, "cameras": 1, "scene": 2, "app": 3, "cli": 4}
    edges = graph(package, kernels, app)
    assert edges["app.page"] == {"app", "scene"}
    assert edges["kernels.other"] == set() and edges["kernels.mlp"] == {"kernels.other", "files"}
    assert downward(edges, floors) == ["cameras -> tools -> scene", "scene -> cli"]
    assert circles(edges) == ["cameras", "scene", "tools"]
    assert sorted(outside(edges, floors)) == ["base -> app", "kernels.mlp -> files", "scene -> cli"]


# --- what importing costs


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import nerf_insert",
        "import nerf_insert.errors, nerf_insert.io.files, nerf_insert.runtime.progress, nerf_insert.scene.recipe",
        "import nerf_insert.scene.scene, nerf_insert.cli.main, nerf_insert.inpaint.registry",
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
