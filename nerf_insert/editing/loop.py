"""The edit loop: from a recipe to a layer.

    region -> masks in all views -> [paint views -> fit the layer] x rounds -> layer on top

Every painted view and the state of the fit are written as they are made, under layers/NNN-name/; the
layer joins the scene when it is complete. Stopped at any moment, the same recipe goes on from there and
ends with the same layer: what is random follows from the seed and the step, and pictures are always
used as they were written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.editing.painting import PaintedViews, inpaint_view, run_inpainter
from nerf_insert.editing.schedule import Round
from nerf_insert.editing.session import EditSession, prepare
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import Layer
from nerf_insert.io.files import read_json, read_tensors, sweep, write_json, write_tensors, write_yaml
from nerf_insert.io.images import write_image
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import MAX_SEED, Recipe
from nerf_insert.scene.scene import LayerEntry, Scene
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.layer_trainer import fit_layer, stages_of
from nerf_insert.training.view_corrections import ViewCorrections, motions_of

DOUBTFUL = 0.5  # trust below which a view is painted again


def edit(
    scene: Scene,
    recipe: Recipe,
    progress: Progress,
    *,
    again: bool = False,
    watch: Callable[[Layer], None] | None = None,
) -> LayerEntry:
    """Make the recipe's layer and put it on top of the scene; goes on where an earlier run stopped.

    If the topmost layer came from this very recipe there is nothing to do, unless `again` is set. `watch`
    is given the layer, which then grows, before each round's fit.
    Raises InputError for what the person can mend, RunError for what went wrong on the way.
    """
    with scene.locked():
        made = scene.layers[-1] if scene.layers else None
        if made and not again and _is_of(scene.layer_folder(made), _identities(scene, recipe, made)):
            progress.say(
                f"Layer {made.name} was made from this very recipe; nothing to do."
                + ("" if made.enabled else f" It is switched off (layers enable {len(scene.layers)}).")
            )
            return made
        identities = _identities(scene, recipe)
        folder = _unfinished(scene, identities)
        work = _work(folder) if folder else {}
        prepared = prepare(scene, recipe.with_options(work.get("options", {})), progress)
        if folder is None:
            folder = scene.new_layer_folder(recipe.name)
            options = prepared.recipe.inpainter_options
            settled = _identities(scene, prepared.recipe)[0]
            work = {"identity": identities[0], "options": options, "settled": settled}
            write_json(folder / "work.json", work)  # first: the folder is found again by it
        else:
            progress.say(f"Going on with the edit in {folder}.")
        if not (folder / "region" / "region.json").exists():
            write_yaml(folder / "recipe.yaml", prepared.recipe.copied_into(folder).to_dict())
            write_json(folder / "region" / "region.json", prepared.region.save(folder / "region"))
        if not (folder / "field.safetensors").exists():
            Loop(prepared, folder, work["identity"], progress, watch).run()
        _tidy(folder)
        entry = LayerEntry(folder.name, recipe.name)
        scene.add(entry)
        return entry


def _tidy(folder: Path) -> None:
    """Remove what only an unfinished layer needs, and what was being written when somebody was killed."""
    for part in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sweep(part)
    for leftover in [*folder.glob("round-*.*"), folder / "checkpoint.safetensors"]:
        leftover.unlink(missing_ok=True)


class Loop:
    """Paints and fits, round by round, and leaves the layer in `folder`."""

    def __init__(
        self,
        prepared: EditSession,
        folder: Path,
        identity: str,
        progress: Progress,
        watch: Callable[[Layer], None] | None = None,
    ):
        self.watch = watch or (lambda _: None)
        self.prepared, self.folder, self.identity, self.progress = prepared, folder, identity, progress
        self.rounds = prepared.plan()
        self.painted = PaintedViews(folder / "painted", prepared.views)

        self.outlook = EtaEstimator(progress, "The edit", {})

    def run(self) -> Layer:
        prepared = self.prepared
        layer = Layer(
            prepared.region,
            prepared.field,
            prepared.blend_width * prepared.region.diagonal,
            seed=prepared.recipe.seed,
            density_bias=prepared.manner.start,
        )
        layer = layer.to(prepared.stack.device)
        prepared.look(prepared.config(self.rounds[0].steps), self.progress)
        with self.outlook:
            for this in self.rounds:
                self._expect(this, +1)
            layer = self._all_rounds(layer)
        layer.save(self.folder / "field.safetensors")
        return layer

    def _all_rounds(self, layer: Layer) -> Layer:
        prepared, records = self.prepared, []
        doubted: list[int] = []
        for this in self.rounds:
            again = [v for v in doubted if this.doubted and v not in this.views]
            views = [*this.views, *again]
            done, record = (self.folder / f"round-{this.number}.{kind}" for kind in ("safetensors", "json"))
            if not done.exists():
                self.watch(layer)
                self.outlook.add("pictures", len(again))
                current = prepared.stack.with_layer(layer) if this.number else prepared.stack
                self._paint(this, views, current)
            if not this.number:
                self.painted.take(prepared.approved)
            self.painted.latest |= {v: self.painted.file(this.number, v) for v in views}
            if done.exists():
                layer = Layer.load(done, prepared.region).to(prepared.stack.device)
                layer.train().requires_grad_(True)
                self._expect(this, -1)
            else:
                write_json(record, self._record(this, views, self._fit(this, layer, views)))
                layer.save(done)
            records.append(read_json(record))
            doubted = [v for v in self.painted.latest if records[-1]["trust"][self._name(v)] < DOUBTFUL]
            doubted = [v for v in doubted if v not in prepared.approved]
        write_json(self.folder / "rounds.json", {"rounds": records})
        return layer

    def _expect(self, this: Round, sign: int) -> None:
        """Tell the outlook what there is to do in a round, or that an earlier run has done it."""
        count = self.prepared.look(self.prepared.config(this.steps), self.progress).rays.count
        views = sum(len(earlier.views) for earlier in self.rounds[: this.number + 1])
        share = min(1.0, (views + len(self.prepared.approved)) / len(self.prepared.views))
        self.outlook.add("pictures", sign * len(this.views))
        self.outlook.add("steps", sign * this.steps)
        stages = stages_of(self.prepared.corrections.any, fresh=not this.number)
        self.outlook.add("rays", sign * count * share * len(stages))

    def _name(self, view: int) -> str:
        return self.prepared.views[view].view.name

    def _record(self, this: Round, views: Sequence[int], trust: Tensor) -> dict[str, Any]:
        """What a round did: for the next one, and for people who want to know."""
        return {
            "strength": this.strength,
            "painted": [self._name(v) for v in views],
            "steps": this.steps,
            "trust": {self._name(v): round(float(trust[v]), 4) for v in sorted(self.painted.latest)},
        }

    def _label(self, what: str, this: Round) -> str:
        return what + (f", round {this.number + 1} of {len(self.rounds)}" if len(self.rounds) > 1 else "")

    def _paint(self, this: Round, views: Sequence[int], current: LayerStack) -> None:
        """Paint those of the views whose pictures are not there yet, in calls that are always the same."""
        if not views:
            return
        prepared, recipe = self.prepared, self.prepared.recipe
        size = prepared.batch_together if this.together else prepared.batch
        groups = [list(this.views), [v for v in views if v not in this.views]]
        batches = [group[first : first + size] for group in groups for first in range(0, len(group), size)]
        with self.progress.task(self._label("Painting the views", this), total=len(views)) as task:
            for batch in batches:
                files = [self.painted.file(this.number, v) for v in batch]
                if all(file.exists() for file in files):
                    self.outlook.skip("pictures", len(batch))
                    task.advance(len(batch))
                    continue
                with self.outlook.spending("pictures", len(batch)):
                    given = [inpaint_view(prepared.inpainter, prepared.views[v], current) for v in batch]
                    seed = call_seed(recipe, this.number, batch[0], again=batch[0] not in this.views)
                    made = run_inpainter(
                        recipe.inpainter, prepared.inpainter, given, prepared.guide, this.strength, seed
                    )
                    for file, picture in zip(files, made, strict=True):
                        write_image(file, picture)
                task.advance(len(batch))

    def _fit(self, this: Round, layer: Layer, new: Sequence[int]) -> Float[Tensor, " V"]:
        """Fit the layer to all pictures that there are, of which some are `new`; how far each view is
        trusted."""
        prepared, config = self.prepared, self.prepared.config(this.steps)
        pixels = PixelSet(
            [seen.view.camera for seen in prepared.views],
            [self.painted.picture(v) for v in range(len(prepared.views))],
        )
        cached = prepared.look(config, self.progress)
        if len(self.painted.latest) < len(prepared.views):
            is_painted = torch.zeros(len(prepared.views), dtype=torch.bool)
            is_painted[list(self.painted.latest)] = True
            cached = cached.take(is_painted[pixels.places(cached.pixels)[0]].nonzero()[:, 0])
        module: nn.Module = layer
        targets: Tensor | ViewCorrections = pixels.rgba(cached.pixels)[0]
        if prepared.corrections.any:
            cameras, middle = [seen.view.camera for seen in prepared.views], prepared.region.bounds.mean(0)
            motions = motions_of(cameras, middle)
            targets = ViewCorrections(pixels, cached.pixels, prepared.corrections, motions)
            if this.number:
                found = read_tensors(self._corrections_file(this.number - 1))[0]
                targets.go_on_from(found, [v for v in self.painted.latest if v not in new])
            module = nn.ModuleDict({"layer": layer, "agreement": targets})
        fit_layer(
            layer,
            prepared.stack,
            cached,
            targets,
            config,
            self.progress,
            self._label("Fitting the layer", this),
            fresh=not this.number,
            outlook=self.outlook,
            checkpoint=Checkpoint(
                self.folder / "checkpoint.safetensors",
                module,
                same={"identity": f"{self.identity}-{this.number}"},
            ),
        )
        if not isinstance(targets, ViewCorrections):
            return torch.ones(len(prepared.views))
        write_tensors(self._corrections_file(this.number), targets.corrections_found())
        return targets.trust

    def _corrections_file(self, number: int) -> Path:
        return self.folder / f"round-{number}-corrections.safetensors"


def call_seed(recipe: Recipe, number: int, view: int, again: bool) -> int:
    """The seed of one call of the inpainter: the recipe's, or a fresh one that follows from it; that is for
    recipes that ask for it, and where the recipe's seed gave pictures that contradict the others."""
    if recipe.schedule.share_seed and not again:
        return recipe.seed
    digest = hashlib.sha256(f"{recipe.seed} {number} {view}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % MAX_SEED


def _identities(scene: Scene, recipe: Recipe, without: LayerEntry | None = None) -> list[str]:
    """Digests of what makes an edit the same edit: its recipe, and the layers that it lies on. The first is
    of this version's recipe format, the others of older ones."""
    below = [entry.folder for entry in scene.layers if entry.enabled and entry is not without]
    return [
        hashlib.sha256(json.dumps([fingerprint, below]).encode()).hexdigest()
        for fingerprint in recipe.fingerprints()
    ]


def _unfinished(scene: Scene, identities: Sequence[str]) -> Path | None:
    """The folder of an edit of one of these identities that never joined the scene."""
    known = scene.known_folders()
    for folder in sorted((scene.folder / "layers").glob("[0-9][0-9][0-9]-*")):
        if folder.name not in known and _is_of(folder, identities):
            return folder
    return None


def _is_of(folder: Path, identities: Sequence[str]) -> bool:
    """Whether a layer's folder is of this edit: of its recipe as it was given, or as it is kept there."""
    work = _work(folder)
    return any(work.get(key) in identities for key in ("identity", "settled"))


def _work(folder: Path) -> dict:
    try:
        work = read_json(folder / "work.json")
    except InputError:
        return {}
    return work if isinstance(work, dict) else {}
