"""From a recipe to all that is known before the first view is painted, checked before time is spent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.editing.painting import BATCH, wrap_inpainter_errors
from nerf_insert.editing.region_views import RegionView, find_region_views
from nerf_insert.editing.schedule import Round, plan
from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import LAYER_FIELD
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.inpaint.api import EditContext, Inpainter
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.registry import load_inpainter
from nerf_insert.io.images import image_size, read_image, to_uint8
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import load_pose
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.training.layer_trainer import CachedRays, FitConfig, cache_rays, choose
from nerf_insert.training.view_corrections import Corrections


class FitPreset(NamedTuple):
    """How a layer is fitted, unless the recipe says otherwise."""

    steps: int
    rate: float
    warm_up: int  # steps, fewer of a short fit
    damped: float  # factor on the rate of the perceptrons
    start: float  # of the layer


# To pictures that agree, a fit is quick. It starts thin and with its perceptrons held back: out of thick fog,
# where most of the region is to be empty, it would run on to nothing at all, and not come back. To pictures
# that may contradict one another it is slow: they are to be judged before the layer knows them by heart.
CONSISTENT = FitPreset(FitConfig.steps, FitConfig.rate, warm_up=64, damped=0.2, start=-1.0)
INCONSISTENT = FitPreset(800, 1e-2, warm_up=32, damped=1.0, start=0.0)


@dataclass(frozen=True, eq=False)
class EditSession:
    """All that is known before the first view is painted."""

    recipe: Recipe  # with what the inpainter has settled on where options were left to it
    region: Region
    stack: LayerStack  # what lies below the new layer
    views: tuple[RegionView, ...]  # those that see the region
    inpainter: Inpainter
    guide: Guide
    _looked: dict[tuple, CachedRays] = field(default_factory=dict, repr=False)

    def introduce(self, seed: int, progress: Progress) -> None:
        """Tell the inpainter what the edit is about, if it wants to know, before it paints with this seed."""
        views, strength = tuple(seen.view for seen in self.views), self.recipe.schedule.strength
        with wrap_inpainter_errors(self.recipe.inpainter):
            self.inpainter.prepare(
                EditContext(self.stack, self.region, self.guide, views, seed, progress, strength)
            )

    @property
    def rounds(self) -> int:
        return self.recipe.schedule.rounds or self.inpainter.rounds

    @property
    def batch(self) -> int:
        """Most views that the inpainter is handed at once."""
        return self.inpainter.batch or BATCH

    @property
    def batch_together(self) -> int:
        """The same for views that should be painted in one call: all, unless the inpainter has a limit."""
        return self.inpainter.batch or max(1, len(self.views))

    @property
    def blend_width(self) -> float:
        given = self.recipe.schedule.blend_width
        return self.inpainter.blend_width if given is None else given

    @property
    def manner(self) -> FitPreset:
        return INCONSISTENT if self.corrections.any else CONSISTENT

    def config(self, steps: int) -> FitConfig:
        """Of so many steps of the layer's fit."""
        _, rate, warm_up, damped, _ = self.manner
        warm_up = min(warm_up, max(FitConfig.warm_up, steps // 6))
        rays, seed = self.recipe.schedule.rays, self.recipe.seed
        return FitConfig(steps=steps, rays=rays, rate=rate, warm_up=warm_up, damped=damped, seed=seed)

    @property
    def field(self) -> FieldConfig:
        """Of the layer."""
        given = self.recipe.schedule.view_dependent
        asked = self.inpainter.view_dependent
        return LAYER_FIELD.with_view_dependence(asked if given is None else given)

    @property
    def corrections(self) -> Corrections:
        """What pictures are corrected by while the layer is fitted to them."""
        needed, said = not self.inpainter.consistent, self.recipe.schedule
        wanted = (said.match_color, said.match_warp, said.robust_weights)
        return Corrections(*(needed if want is None else want for want in wanted))

    @property
    def approved(self) -> dict[int, str]:
        """The files of given pictures, by their views' indices."""
        names = {seen.view.name: index for index, seen in enumerate(self.views)}
        return {names[name]: file for name, file in self.recipe.approved.items() if name in names}

    def plan(self) -> list[Round]:
        """The rounds of painting and fitting."""
        schedule, center = self.recipe.schedule, self.region.bounds.mean(0)
        schedule = replace(schedule, steps=schedule.steps or self.manner.steps)
        return plan(schedule, self.rounds, self.views, center, tuple(self.approved))

    def look(self, config: FitConfig, progress: Progress) -> CachedRays:
        """The rays that see the region, looked along once. Raises InputError if there are none."""
        key = (config.max_rays, config.seed)
        if key not in self._looked:
            inside = torch.cat([seen.mask.reshape(-1) for seen in self.views]).nonzero()[:, 0]
            with progress.task("Looking along the rays once", total=1) as task:
                chosen = choose(config.max_rays, config, inside)
                self._looked[key] = cache_rays(self.stack, self.region, self.pixels(), chosen)
                task.advance(1)
        if not self._looked[key].rays.count:
            raise InputError("the region is hidden behind the scene in every view: nothing of it can be seen")
        return self._looked[key]

    def pixels(self) -> PixelSet:
        """Those of the photographs."""
        photographs = [to_uint8(seen.view.photograph()) for seen in self.views]
        return PixelSet([seen.view.camera for seen in self.views], photographs)


def prepare(scene: Scene, recipe: Recipe, progress: Progress) -> EditSession:
    """Load what the recipe names, project the region, and check all of it before time is spent.

    Raises InputError with what is wrong and what to do.
    """
    for deprecation in recipe.deprecations:
        progress.warn(deprecation)
    inpainter = load_inpainter(recipe.inpainter, recipe.inpainter_options)
    guide = load_guide(recipe)
    with wrap_inpainter_errors(recipe.inpainter):
        inpainter.check(guide)
    recipe = recipe.with_options(dict(inpainter.settled))
    capture = scene.capture
    for warning in capture.warnings:
        progress.warn(warning)
    with progress.task("Building the region", total=1) as task:
        region = recipe.region.build(capture)
        task.advance(1)
    stack = scene.stack()
    keep = inpainter.uses_render == "full"
    views = find_region_views(region, stack, capture, recipe.schedule.min_coverage, progress, keep)
    check_approved(recipe.approved, views, [view.name for view in capture.train])
    prepared = EditSession(recipe, region, stack, views, inpainter, guide)
    prepared.introduce(recipe.seed, progress)
    return prepared


def load_guide(recipe: Recipe) -> Guide:
    said = recipe.guide
    return Guide(
        prompt=said.prompt,
        negative_prompt=said.negative_prompt,
        references=tuple(read_image(file)[0] for file in said.references),
        mesh=load_mesh(said.mesh, load_pose(said.pose)) if said.mesh else None,
    )


def check_approved(approved: dict[str, str], views: tuple[RegionView, ...], known: list[str]) -> None:
    """Raises InputError where a given picture belongs to no view that shows the region, or is neither of
    the view's size nor of its photograph's, of which the view may be a smaller copy."""
    shown = {seen.view.name: seen.view for seen in views}
    for name, file in approved.items():
        if name not in shown:
            why = "does not show the region" if name in known else "is no training view of the capture"
            raise InputError(f"the approved picture {file} is for {name}, which {why}")
        height, width = read_image(file)[0].shape[:2]
        own = image_size(shown[name].path)
        if (width, height) not in (shown[name].size, own):
            raise InputError(
                f"the approved picture {file} is {width}x{height} pixels, {name} is {own[0]}x{own[1]}"
            )
