"""The pipeline of the method `nerf-insert`: a scene folder in nerfstudio, and the edit in progress.

A checkpoint holds the path of the scene folder, which layers were enabled, and the weights of the unfinished
layer: a few megabytes, and never a diffusion model.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from nerf_insert.editing.layer_folder import unfinished_folders
from nerf_insert.editing.loop import EditState, edit_steps
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.plugin.coordinates import Frame
from nerf_insert.plugin.datamanager import NerfInsertDataManager
from nerf_insert.plugin.edit_config import EditPipelineConfig
from nerf_insert.plugin.error_handling import friendly_errors
from nerf_insert.plugin.recipe_from_config import recipe_of
from nerf_insert.plugin.run_scene import find_scene
from nerf_insert.plugin.viewer_panel import EditPanel
from nerf_insert.regions import load_region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene

if TYPE_CHECKING:
    from nerf_insert.plugin.edit_model import NerfInsertModel


class CallbackProgress(Progress):
    """Passes messages and warnings on to a function, and shows no progress."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def say(self, text: str) -> None:
        """Pass on a message."""
        self._write(text)

    def warn(self, text: str) -> None:
        """Pass on a warning."""
        self._write(f"warning: {text}")


class NerfInsertPipeline(VanillaPipeline):
    """nerfstudio's own pipeline; the model renders a scene folder, with the unfinished layer on top."""

    config: EditPipelineConfig
    datamanager: NerfInsertDataManager

    def __init__(self, config: Any, device: str | torch.device, **options: Any) -> None:
        super().__init__(config, cast(str, device), **options)  # declared as str, but ns-eval gives a device
        self._scene: Scene | None = None
        self._steps: Generator[EditState, None, LayerEntry] | None = None
        self._stepping = threading.Lock()  # the viewer's threads start and end edits, too
        self._recipe: Recipe | None = None
        self._growing: Layer | None = None
        self._layers: dict[LayerEntry, Layer | ShadeLayer] = {}
        self.edit_panel = EditPanel(editing=self.test_mode == "val")
        if config.scene is not None and (Path(config.scene) / "scene.json").exists():
            self.open(Path(config.scene))

    def open(self, folder: Path) -> None:
        """Render a scene folder from now on.

        Raises:
            InputError: It is none, or of another capture.
        """
        self._scene = Scene.open(folder)
        self._frame = Frame.of(self.datamanager.train_dataparser_outputs, self._scene.capture_as_found)
        self.edit_panel.list_layers(self._scene.layers, self.refresh)
        self.refresh()

    @property
    def scene_folder(self) -> Path | None:
        """The folder of the scene that is rendered; None: no scene is open."""
        return self._scene.folder if self._scene else None

    def refresh(self) -> None:
        """Render the base, the layers whose switches are on, and the unfinished one."""
        if self._scene is None:
            return
        shown = [self._layer(entry) for entry in self._scene.layers if self.edit_panel.is_on(entry)]
        if self._growing is not None and self.edit_panel.new_layer.value:
            shown.append(self._growing)
        model = cast("NerfInsertModel", self.model)  # that of the method's config
        model.show(LayerStack(self._scene.base, tuple(shown)), self._frame)

    def _layer(self, entry: LayerEntry) -> Layer | ShadeLayer:
        assert self._scene is not None
        if entry not in self._layers:
            self._layers[entry] = self._scene.load_layer(entry)
        return self._layers[entry]

    # --- the edit

    def begin(self, recipe: Recipe | None, say: Callable[[str], None]) -> None:
        """Start or resume an edit, after ending the present one.

        Args:
            recipe: The edit; by default that of the flags, or the one that was left unfinished.
            say: Gets the edit's messages.

        Raises:
            InputError: There is nothing to edit.
        """
        assert self._scene is not None
        edit, prompt = self.config.edit, self.config.model.prompt
        progress = CallbackProgress(say)
        recipe = recipe or recipe_of(edit, prompt, progress, self._scene) or unfinished_recipe(self._scene)
        if recipe is None:
            raise InputError(
                "say what to edit: --pipeline.edit.mesh, .mask, .box or .recipe; see "
                "`ns-train nerf-insert --help`"
            )
        self.end()
        with self._stepping:
            self._growing, self._recipe = None, recipe
            self.edit_panel.describe(recipe)
            self._steps = edit_steps(self._scene, recipe, progress)

    def edit_step(self) -> EditState | None:
        """Do the edit's next step; None when its layer has joined the scene. Raises what the edit raises."""
        with self._stepping:
            state = next(self._steps, None) if self._steps is not None else None
            layer = state.layer if state is not None else None
            if layer is not self._growing or state is None:
                self._growing = layer
                self.refresh()
            return state

    @property
    def recipe(self) -> Recipe | None:
        """The edit that was begun last."""
        return self._recipe

    def end(self) -> None:
        """Stop the edit after its present step; the same recipe resumes it."""
        with self._stepping:
            if self._steps is not None:
                self._steps.close()

    # --- checkpoints

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return what a checkpoint holds (see the module); nothing while no scene is open."""
        if self._scene is None:
            return {}
        state: dict[str, Any] = {
            "scene": str(self._scene.folder.resolve()),
            "scene_from_here": os.path.relpath(self._scene.folder),
            "layers": [entry.folder for entry in self._scene.layers if entry.enabled],
        }
        folder = unfinished_folder(self._scene) if self._growing is not None else None
        if folder is not None and self._growing is not None:
            state["growing"] = {
                "folder": folder.name,
                "field": self._growing.field.config.to_text(),
                "shell": self._growing.blend_width,
                "tensors": {name: t.clone() for name, t in self._growing.state_dict().items()},
            }
        return state

    @friendly_errors
    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Render what a checkpoint holds."""
        self.open(find_scene(loaded_state, self.config.scene))
        assert self._scene is not None
        self.edit_panel.switch([entry.folder for entry in self._scene.layers], loaded_state.get("layers"))
        if (growing := loaded_state.get("growing")) is not None:
            self._growing = grown(self._scene, growing)
        self.edit_panel.new_layer.visible |= self._growing is not None
        self.refresh()

    def load_state_dict(self, state_dict: Any, strict: bool | None = None) -> None:  # type: ignore[override]
        """Render what a checkpoint holds, as `load_pipeline` does; `strict` is ignored."""
        self.load_pipeline(dict(state_dict), 0)


def grown(scene: Scene, state: dict[str, Any]) -> Layer | None:
    """Load the layer that a checkpoint says is unfinished; None if it has joined the scene since."""
    from nerf_insert.fields.hash_field import FieldConfig
    from nerf_insert.io.files import read_json

    home = scene.folder / "layers" / Path(state["folder"]).name
    if home.name in {entry.folder for entry in scene.layers} or not (home / "region").exists():
        return None
    region = load_region(read_json(home / "region" / "region.json"), home / "region")
    layer = Layer(region, FieldConfig.from_text(state["field"]), float(state["shell"]))
    layer.load_state_dict(state["tensors"])
    return layer.eval().requires_grad_(False)


def unfinished_folder(scene: Scene) -> Path | None:
    """Return the newest folder of a layer that never joined the scene."""
    folders = [folder for folder in unfinished_folders(scene) if (folder / "region" / "region.json").exists()]
    return folders[-1] if folders else None


def unfinished_recipe(scene: Scene) -> Recipe | None:
    """Read the recipe of the edit that was left unfinished."""
    folder = unfinished_folder(scene)
    return Recipe.load(folder / "recipe.yaml") if folder else None
