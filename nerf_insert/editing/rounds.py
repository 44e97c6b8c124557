"""The rounds of an edit: paint views, fit the layer, keep both on disk.

While a layer is unfinished its folder holds, for each finished round k, round-k.safetensors (the layer),
round-k.json (its record) and round-k-corrections.safetensors; and checkpoint.safetensors, the state of the
present fit. V is the number of views that see the region.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.editing.painting import PaintedViews, inpaint_view, known_distances, run_inpainter
from nerf_insert.editing.schedule import Round
from nerf_insert.editing.session import EditSession
from nerf_insert.fields.layer import Layer
from nerf_insert.io.files import read_json, read_tensors, write_json, write_tensors
from nerf_insert.io.images import write_image
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import MAX_SEED, Recipe
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.layer_trainer import FitConfig, fit_stages, fit_steps
from nerf_insert.training.ray_cache import CachedRays
from nerf_insert.training.surroundings import Surroundings
from nerf_insert.training.view_corrections import ViewCorrections, view_motions

REPAINT_TRUST = 0.5  # trust below which a view is painted again
CERTAIN = 0.9  # trust of a view below which what a layer has learned from it may be wrong
MAX_SPACING = 4.0  # of pixels on a surface that a layer is drawn to, in steps of the region
KEPT = 0.15  # of the features of a layer that was started from such a view


@dataclass(frozen=True, eq=False)
class EditState:
    """Where an edit is, after a batch of painted views or a step of the fit.

    Attributes:
        phase: What was done last.
        round: The present round, from 0.
        rounds: Their number.
        fraction: How much of the phase is done, 0..1.
        loss: The last loss of the fit; None while painting.
        layer: The layer so far, which is trained in place.
    """

    phase: Literal["painting", "fitting"]
    round: int
    rounds: int
    fraction: float
    loss: float | None
    layer: Layer


class EditRounds:
    """Runs all rounds of an edit and leaves the layer in a folder."""

    def __init__(self, session: EditSession, folder: Path, identity: str, progress: Progress):
        """Plan the rounds.

        Args:
            session: The edit.
            folder: The layer's folder; what is already in it is used.
            identity: Digest of the edit, by which checkpoints are recognized.
            progress: Where the work is reported.
        """
        self.session, self.folder, self.identity, self.progress = session, folder, identity, progress
        self.rounds = session.plan()
        self.painted = PaintedViews(folder / "painted", session.views)
        self.eta = EtaEstimator(progress, "The edit", {})

    def run(self) -> Layer:
        """Run all rounds and return the layer, which is also in field.safetensors."""
        steps = self.steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def steps(self) -> Generator[EditState, None, Layer]:
        """Do what `run` does, one batch of painted views or one step of the fit at a time.

        Raises:
            InputError: No pixel shows the region.
            RunError: The inpainter failed, or the disk.
            Stopped: The user stopped the work.
        """
        session = self.session
        layer = Layer(
            session.region,
            session.field_config,
            session.blend_width * session.region.diagonal,
            seed=session.recipe.seed,
            density_bias=session.preset.density_bias,
        )
        layer = layer.to(session.stack.device)
        session.cached_rays(session.fit_config(self.rounds[0].steps), self.progress)
        with self.eta:
            for this in self.rounds:
                self._expect(this, +1)
            layer = yield from self._all_rounds(layer)
        layer.save(self.folder / "field.safetensors")
        return layer

    def _all_rounds(self, layer: Layer) -> Generator[EditState, None, Layer]:
        session, records = self.session, []
        inconsistent: list[int] = []
        for this in self.rounds:
            again = [v for v in inconsistent if this.repaint and v not in this.views]
            views = [*this.views, *again]
            done, record = (self.folder / f"round-{this.number}.{kind}" for kind in ("safetensors", "json"))
            if not done.exists():
                self.eta.add("views", len(again))
                current = session.stack.with_layer(layer) if this.number else session.stack
                yield from self._paint(this, views, current, layer)
            if not this.number:
                self.painted.use_approved(session.approved)
            self.painted.latest |= {v: self.painted.file(this.number, v) for v in views}
            if done.exists():
                layer = Layer.load(done, session.region).to(session.stack.device)
                layer.train().requires_grad_(True)
                self._expect(this, -1)
            else:
                if this is self.rounds[-1] and self._began_wrong(records):
                    layer.blur_memory(KEPT)
                trust = yield from self._fit(this, layer, views)
                write_json(record, self._record(this, views, trust))
                layer.save(done)
            records.append(read_json(record))
            trust_of = records[-1]["trust"]
            inconsistent = [v for v in self.painted.latest if trust_of[self._name(v)] < REPAINT_TRUST]
            inconsistent = [v for v in inconsistent if v not in session.approved]
        write_json(self.folder / "rounds.json", {"rounds": records})
        return layer

    def _began_wrong(self, records: Sequence[dict[str, Any]]) -> bool:
        """Tell whether a view that the layer was started from is doubted by now."""
        trust = records[-1]["trust"] if records else {}
        return any(trust[self._name(v)] < CERTAIN for v in self.rounds[0].views if self._name(v) in trust)

    def _expect(self, this: Round, sign: int) -> None:
        """Add a round's work to the time estimate, or remove it if an earlier run has done it."""
        session = self.session
        count = session.cached_rays(session.fit_config(this.steps), self.progress).rays.count
        views = sum(len(earlier.views) for earlier in self.rounds[: this.number + 1])
        fraction = min(1.0, (views + len(session.approved)) / len(session.views))
        self.eta.add("views", sign * len(this.views))
        self.eta.add("steps", sign * this.steps)
        stages = fit_stages(session.correction_options.any, fresh=not this.number)
        self.eta.add("rays", sign * count * fraction * len(stages))

    def _name(self, view: int) -> str:
        return self.session.views[view].view.name

    def _record(self, this: Round, views: Sequence[int], trust: Float[Tensor, " V"]) -> dict[str, Any]:
        """Return what a round did, for the next round and for people who want to know."""
        return {
            "strength": this.strength,
            "painted": [self._name(v) for v in views],
            "steps": this.steps,
            "trust": {self._name(v): round(float(trust[v]), 4) for v in sorted(self.painted.latest)},
        }

    def _label(self, work: str, this: Round) -> str:
        return work + (f", round {this.number + 1} of {len(self.rounds)}" if len(self.rounds) > 1 else "")

    def _state(
        self,
        phase: Literal["painting", "fitting"],
        this: Round,
        fraction: float,
        layer: Layer,
        loss: float | None = None,
    ) -> EditState:
        return EditState(phase, this.number, len(self.rounds), fraction, loss, layer)

    def _paint(
        self, this: Round, views: Sequence[int], current: LayerStack, layer: Layer
    ) -> Generator[EditState, None, None]:
        """Paint the views that have no image of this round yet; the same views always share a call."""
        if not views:
            return
        session, recipe = self.session, self.session.recipe
        size = session.joint_batch if this.joint else session.batch
        groups = [list(this.views), [v for v in views if v not in this.views]]
        batches = [group[first : first + size] for group in groups for first in range(0, len(group), size)]
        with self.progress.task(self._label("Painting the views", this), total=len(views)) as task:
            for batch in batches:
                files = [self.painted.file(this.number, v) for v in batch]
                if all(file.exists() for file in files):
                    self.eta.skip("views", len(batch))
                    task.advance(len(batch))
                    continue
                with self.eta.spending("views", len(batch)):
                    inputs = [inpaint_view(session.inpainter, session.views[v], current) for v in batch]
                    seed = call_seed(recipe, this.number, batch[0], again=batch[0] not in this.views)
                    images = run_inpainter(
                        recipe.inpainter, session.inpainter, inputs, session.guide, this.strength, seed
                    )
                    for file, image in zip(files, images, strict=True):
                        write_image(file, image)
                task.advance(len(batch))
                yield self._state("painting", this, task.done / task.total, layer)

    def _fit(
        self, this: Round, layer: Layer, new: Sequence[int]
    ) -> Generator[EditState, None, Float[Tensor, " V"]]:
        """Fit the layer to the latest images, of which some are `new`, and return the views' trust."""
        session = self.session
        config = session.fit_config(this.steps, first=not this.number)
        cached, targets = self._targets(this, config, new)
        module = fit_module(layer, targets) if isinstance(targets, ViewCorrections) else layer
        same = {"identity": f"{self.identity}-{this.number}"}
        fit = fit_steps(
            layer,
            session.stack,
            cached,
            targets,
            config,
            self.progress,
            self._label("Fitting the layer", this),
            fresh=not this.number,
            eta=self.eta,
            checkpoint=Checkpoint(self.folder / "checkpoint.safetensors", module, same),
            known=known_distances(
                session.recipe.inpainter, session.inpainter, cached.rays, MAX_SPACING * session.region.step
            ),
        )
        with closing(fit):  # closing this generator closes the fit, which saves its checkpoint then
            for step in fit:
                yield self._state("fitting", this, step.step / step.steps, layer, step.loss)
        if not isinstance(targets, ViewCorrections):
            return torch.ones(len(session.views))
        write_tensors(self._corrections_file(this.number), targets.estimates())
        return targets.trust

    def _targets(
        self, this: Round, config: FitConfig, new: Sequence[int]
    ) -> tuple[CachedRays, Float[Tensor, "N 3"] | ViewCorrections]:
        """Return the rays of all views that have an image, and what they should show."""
        session = self.session
        cameras = [seen.view.camera for seen in session.views]
        corrected, every = session.correction_options.any, range(len(session.views))
        around: dict[int, Surroundings] = {}
        if corrected:
            images, found = zip(*map(self.painted.image_and_surroundings, every), strict=True)
            around = {v: there for v, there in enumerate(found) if there is not None}
        else:
            images = [self.painted.image(v) for v in every]
        pixels = PixelSet(cameras, images)
        cached = session.cached_rays(config, self.progress)
        if len(self.painted.latest) < len(session.views):
            is_painted = torch.zeros(len(session.views), dtype=torch.bool)
            is_painted[list(self.painted.latest)] = True
            cached = cached.take(is_painted[pixels.view_and_xy(cached.pixels)[0]].nonzero()[:, 0])
        if not corrected:
            return cached, pixels.rgba(cached.pixels)[0]
        motions = view_motions(cameras, session.region.bounds.mean(0))
        corrections = ViewCorrections(pixels, cached.pixels, session.correction_options, motions, around)
        if this.number:
            estimates = read_tensors(self._corrections_file(this.number - 1))[0]
            corrections.start_from(estimates, [v for v in self.painted.latest if v not in new])
        return cached, corrections

    def _corrections_file(self, number: int) -> Path:
        return self.folder / f"round-{number}-corrections.safetensors"


def fit_module(layer: Layer, corrections: ViewCorrections) -> nn.ModuleDict:
    """Join what a checkpoint of a fit with corrections holds; it also loads those of version 0.1.0."""
    module = nn.ModuleDict({"layer": layer, "corrections": corrections})
    module.register_load_state_dict_pre_hook(_rename_old_keys)
    return module


def _rename_old_keys(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Accept state under the name that corrections had in version 0.1.0."""
    for name in [name for name in state if name.startswith(f"{prefix}agreement.")]:
        state[name.replace("agreement.", "corrections.", 1)] = state.pop(name)


def call_seed(recipe: Recipe, number: int, view: int, again: bool) -> int:
    """Return the seed of one call of the inpainter.

    It is the recipe's, or a fresh one that follows from it: if the recipe asks for that, or if the recipe's
    own seed gave images that are inconsistent with the others (`again`).
    """
    if recipe.schedule.share_seed and not again:
        return recipe.seed
    digest = hashlib.sha256(f"{recipe.seed} {number} {view}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % MAX_SEED
