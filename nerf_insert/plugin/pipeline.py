"""The pipeline of the method `nerf-insert`: a scene folder in nerfstudio, and the edit that grows in it.

A checkpoint holds where the scene folder is, which layers were on, and the weights of the layer that is
still growing: a few megabytes, and never a diffusion model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from nerf_insert.errors import InputError
from nerf_insert.fields.layer import Layer
from nerf_insert.plugin.coordinates import Frame
from nerf_insert.plugin.edit_stepper import Messages, Step, SteppedEdit
from nerf_insert.plugin.error_handling import friendly_errors
from nerf_insert.plugin.recipe_from_config import recipe_of
from nerf_insert.plugin.scene_copy import find_scene
from nerf_insert.plugin.viewer_panel import EditPanel
from nerf_insert.regions import load_region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene


class NerfInsertPipeline(VanillaPipeline):
    """nerfstudio's own pipeline; the model shows what `scene` holds, and the layer that grows on top."""

    def __init__(self, config: Any, device: str, **options: Any) -> None:
        super().__init__(config, device, **options)
        self._scene: Scene | None = None
        self._edit: SteppedEdit | None = None
        self._growing: Layer | None = None
        self._layers: dict[str, Layer] = {}
        self.edit_panel = EditPanel(editing=self.test_mode == "val")
        if config.scene is not None and (Path(config.scene) / "scene.json").exists():
            self.open(Path(config.scene))

    def open(self, folder: Path) -> None:
        """Show a scene folder. Raises InputError."""
        self._scene = Scene.open(folder)
        self._frame = Frame.of(self.datamanager.train_dataparser_outputs, self._scene.capture_as_found)
        self.edit_panel.list_layers(self._scene.layers, self.refresh)
        self.refresh()

    @property
    def scene_folder(self) -> Path | None:
        return self._scene.folder if self._scene else None

    def refresh(self) -> None:
        """Show the base, the layers that are switched on, and the one that grows."""
        if self._scene is None:
            return
        shown = [self._layer(entry) for entry in self._scene.layers if self.edit_panel.is_on(entry)]
        if self._growing is not None and self.edit_panel.new_layer.value:
            shown.append(self._growing)
        self.model.show(LayerStack(self._scene.base, tuple(shown)), self._frame)

    def _layer(self, entry: LayerEntry) -> Layer:
        assert self._scene is not None
        if entry.folder not in self._layers:
            self._layers[entry.folder] = self._scene.load_layer(entry)
        return self._layers[entry.folder]

    # --- the edit

    def begin(self, recipe: Recipe | None, say: Any) -> None:
        """Start, or go on with, an edit: that of the flags or of `recipe`, else the one that was left
        unfinished. Raises InputError where there is none."""
        assert self._scene is not None
        edit = self.config.edit
        recipe = recipe or recipe_of(edit, self.config.model.prompt, Messages(say)) or unfinished(self._scene)
        if recipe is None:
            raise InputError(
                "say what to edit: --pipeline.edit.mesh, .mask, .box or .recipe; see "
                "`ns-train nerf-insert --help`"
            )
        self.end()
        self._growing = None
        self.edit_panel.describe(recipe)
        self._edit = SteppedEdit(self._scene, recipe, self._watch, say)

    def edit_step(self) -> Step | None:
        """The edit's next step; none when its layer has joined the scene. Raises what the edit raises."""
        assert self._edit is not None and self._scene is not None
        step = self._edit.step()
        if step is None:
            self._growing = None
            self.refresh()
        return step

    @property
    def recipe(self) -> Recipe | None:
        return self._edit.recipe if self._edit else None

    def end(self) -> None:
        """Stop the edit where it is."""
        if self._edit is not None:
            self._edit.stop()

    def _watch(self, layer: Layer) -> None:
        self._growing = layer
        self.refresh()

    # --- checkpoints

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
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
        """Show what a checkpoint says."""
        self.open(find_scene(loaded_state, self.config.scene))
        assert self._scene is not None
        self.edit_panel.switch([entry.folder for entry in self._scene.layers], loaded_state.get("layers"))
        if (growing := loaded_state.get("growing")) is not None:
            self._growing = grown(self._scene, growing)
        self.edit_panel.new_layer.visible |= self._growing is not None
        self.refresh()

    def load_state_dict(self, state_dict: Any, strict: bool | None = None) -> None:  # type: ignore[override]
        self.load_pipeline(dict(state_dict), 0)


def grown(scene: Scene, state: dict[str, Any]) -> Layer | None:
    """The layer that was growing when a checkpoint was written; none if it has joined the scene since."""
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
    """The newest folder of a layer that never joined the scene."""
    known = scene.known_folders()
    folders = sorted((scene.folder / "layers").glob("[0-9][0-9][0-9]-*"))
    begun = [folder for folder in folders if (folder / "region" / "region.json").exists()]
    left = [folder for folder in begun if folder.name not in known]
    return left[-1] if left else None


def unfinished(scene: Scene) -> Recipe | None:
    folder = unfinished_folder(scene)
    return Recipe.load(folder / "recipe.yaml") if folder else None
