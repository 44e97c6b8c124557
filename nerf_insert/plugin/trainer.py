"""`ns-train nerf-insert`: nerfstudio's trainer, whose iterations are the steps of the edit loop.

The run folder gets a scene folder, `scene/`: imported from the trained run of --load-dir, or a copy of the
scene of an earlier nerf-insert run, whose unfinished edit is resumed. Painted views and the state of the fit
are kept there as they are made, so a killed run loses only seconds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils.rich_utils import CONSOLE

from nerf_insert.errors import InputError, RunError
from nerf_insert.plugin.checkpoint_reader import read_state
from nerf_insert.plugin.edit_config import EditPipelineConfig
from nerf_insert.plugin.error_handling import friendly_errors
from nerf_insert.plugin.import_run import OUR_EDIT, adopt
from nerf_insert.plugin.run_capture import dataparser_config
from nerf_insert.plugin.run_reader import newest_checkpoint, read_run
from nerf_insert.plugin.run_scene import dataparser_for, find_scene
from nerf_insert.scene.scene import Scene
from nerf_insert.scene.scene_copy import copy_scene

if TYPE_CHECKING:
    from nerf_insert.plugin.pipeline import NerfInsertPipeline


class NerfInsertTrainer(Trainer):
    """Runs an edit: its iterations are steps of the edit loop."""

    pipeline: NerfInsertPipeline

    @friendly_errors
    def setup(self, test_mode: Any = "val") -> None:
        """Prepare the scene folder, begin the edit or resume it, and save a first checkpoint.

        Raises:
            SystemExit: There is no scene to edit, or nothing to do to it; the message is printed.
        """
        checkpoint = self._checkpoint()
        self._prepare_scene(checkpoint)
        super().setup(test_mode)
        panel = self.pipeline.edit_panel
        panel.on_start_over, panel.on_preview, panel.on_pause = self._start_over, self._preview, self._pause
        self.pipeline.begin(None, self._say)
        self.save_checkpoint(self._start_step)  # from the first moment there is a run to resume

    def _checkpoint(self) -> Path | None:
        config = self.config
        if config.load_checkpoint is not None:
            return Path(config.load_checkpoint)
        if config.load_dir is not None:
            return newest_checkpoint(config.load_dir, config.load_step)
        return None

    def _prepare_scene(self, checkpoint: Path | None) -> None:
        """Put the scene to edit into this run's folder, and its path into the config.

        Raises:
            InputError: There is no scene to edit, or it cannot be used.
        """
        folder = self.base_dir / "scene"
        config = cast(EditPipelineConfig, self.config.pipeline)  # that of the method
        manager, trust = cast(VanillaDataManagerConfig, config.datamanager), config.trust
        run = None
        if checkpoint is not None:
            run = replace(read_run(checkpoint.parent.parent, trust), checkpoint=checkpoint)
        self._resumed: dict[str, Any] = {}
        if (folder / "scene.json").exists():  # the very same run again (--load-config)
            scene = Scene.open(folder)
        elif run is not None and run.model.kind != OUR_EDIT and config.scene is None:
            found = adopt(run, manager.data, config.appearance, trust)
            scene = Scene.create(
                folder, found.capture, found.base, found.dataparser, found.downscale, keep_views=True
            )
        elif config.appearance is not None:
            raise InputError(
                "--appearance is for --load-dir of a trained nerfacto, which this edit does not use"
            )
        elif config.scene is not None:
            scene = copy_scene(Path(config.scene), folder, manager.data)
        elif run is not None:
            self._resumed = read_state(run.checkpoint, trust)
            scene = copy_scene(find_scene(self._resumed["pipeline"]), folder, manager.data)
        else:
            raise InputError(
                "say what to edit: --load-dir RUN/nerfstudio_models of a trained nerfacto, nerf-insert-base "
                "or nerf-insert, or --scene with a scene folder"
            )
        if run is not None:  # the model coordinates that its camera paths are in
            manager.data = manager.data or run.data
            manager.dataparser = dataparser_config(run, Path(manager.data), trust)[1]
        else:
            manager.dataparser = dataparser_for(scene)
            manager.data = manager.data or manager.dataparser.data
        config.scene = folder.resolve()
        self.config.save_config()

    def _load_checkpoint(self) -> None:
        """Take over the step; everything else is in the scene."""
        if self._resumed:
            self._start_step = self._resumed["step"] + 1
        self.pipeline.datamanager.train_dataparser_outputs.save_dataparser_transform(
            self.base_dir / "dataparser_transforms.json"
        )

    @friendly_errors
    def train(self) -> None:
        """Run the edit; if it ends before its layer has joined the scene, it can be resumed."""
        try:
            super().train()
        finally:
            self.pipeline.end()

    def train_iteration(self, step: int) -> tuple[torch.Tensor, dict, dict]:
        """Do one step of the edit: paint a batch of views, or take one step of the fit.

        Returns:
            The loss of the fit (0 while painting), and what nerfstudio logs.
        """
        state = self.pipeline.edit_step()
        if state is None:
            self.stop_training = True
            return torch.zeros(()), {}, {}
        loss = torch.tensor(state.loss or 0.0)
        metrics = {"round": torch.tensor(state.round + 1.0), state.phase: torch.tensor(state.fraction)}
        return loss, {} if state.loss is None else {"fit": loss}, metrics

    def _say(self, text: str) -> None:
        CONSOLE.print(text, soft_wrap=True, markup=False)

    # --- the viewer's buttons

    def _start_over(self) -> None:
        recipe = self.pipeline.recipe
        if recipe is not None and self.training_state != "completed":
            self.pipeline.begin(self.pipeline.edit_panel.changed_recipe(recipe), self._say)

    def _preview(self) -> None:
        from nerf_insert.editing.preview import preview
        from nerf_insert.plugin.pipeline import CallbackProgress

        recipe, folder, out = self.pipeline.recipe, self.pipeline.scene_folder, self.base_dir / "preview"
        if recipe is None or folder is None:
            return
        try:
            changed = self.pipeline.edit_panel.changed_recipe(recipe)
            preview(Scene.open(folder), changed, out, CallbackProgress(self._say))
        except (InputError, RunError) as error:
            self._say(str(error))
            return
        self._say(f"The preview is in {out}.")
        self.pipeline.edit_panel.show_image((out / "sheet.png").read_bytes())

    def _pause(self) -> None:
        if self.training_state != "completed":
            self.training_state = "training" if self.training_state == "paused" else "paused"
