"""An edit session: everything that is known, and checked, before the first view is painted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from nerf_insert.capture.capture import Capture, camera_distance
from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.editing.mesh_hints import explained_by
from nerf_insert.editing.mesh_place import place_note
from nerf_insert.editing.painting import BATCH, wrap_inpainter_errors
from nerf_insert.editing.region_views import MIN_VIEWS, RegionView, find_region_views, scene_reach
from nerf_insert.editing.schedule import Round, plan_rounds
from nerf_insert.errors import InputError, warnings_to
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import LAYER_FIELD
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.geometry.mesh_size import size_note
from nerf_insert.inpaint.api import EditContext, Inpainter
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.registry import load_inpainter
from nerf_insert.io.images import read_image, read_reference, to_uint8
from nerf_insert.lighting import kept_light
from nerf_insert.lighting.kept_light import KeptLight
from nerf_insert.regions.csg import DilatedRegion, UnionRegion
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import Heal, load_pose
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe, ShadowKind
from nerf_insert.scene.scene import Scene
from nerf_insert.selection.selector import Selector
from nerf_insert.training.layer_trainer import FitConfig
from nerf_insert.training.ray_cache import CachedRays, cache_rays, choose_pixels
from nerf_insert.training.view_corrections import CorrectionOptions

REMOVES = "fill"  # the inpainter that removes: what masks cut off of a thing is meant to go, too
MARGIN = 0.05  # of a selected thing's diagonal: how far around it a removal begins


HEAL_STEPS = 120  # of a fit to the surface under a stroke


class FitPreset(NamedTuple):
    """How a layer is fitted, unless the recipe says otherwise.

    Attributes:
        steps: Steps of the whole edit.
        lr: Learning rate.
        later_lr: That of all rounds but the first.
        warmup_steps: Steps in which the learning rate grows; fewer in a short fit.
        mlp_lr_scale: Factor on the learning rate of the MLPs.
        density_bias: Logarithm of the layer's optical depth at the start.
    """

    steps: int
    lr: float
    later_lr: float
    warmup_steps: int
    mlp_lr_scale: float
    density_bias: float


# Consistent images: fit fast, starting at low density and with slow MLPs, because a dense initial field
# collapses to empty and stays so. Inconsistent images: fit the anchors slowly, which are few and easily
# overfitted, and all views faster: they can be judged by a layer that has taken shape.
CONSISTENT = FitPreset(FitConfig.steps, FitConfig.lr, FitConfig.lr, 64, mlp_lr_scale=0.2, density_bias=-1.0)
INCONSISTENT = FitPreset(800, 1e-2, 3e-2, warmup_steps=32, mlp_lr_scale=1.0, density_bias=0.0)


@dataclass(frozen=True, eq=False)
class EditSession:
    """Everything that is known before the first view is painted.

    Attributes:
        recipe: The edit, with the options that the inpainter has settled on.
        region: Where it is, in world coordinates.
        stack: What lies below the new layer.
        views: The training views that see the region.
        inpainter: What paints.
        guide: What to paint.
        marked: What the recipe marks; `region` without the margin that a removal adds.
        selector: Finds things in the scene below the new layer.
        light: The light that an earlier edit of this place found.
    """

    recipe: Recipe
    region: Region
    stack: LayerStack
    views: tuple[RegionView, ...]
    inpainter: Inpainter
    guide: Guide
    marked: Region
    selector: Selector
    light: KeptLight | None = None
    _ray_cache: dict[tuple[int, int], CachedRays] = field(default_factory=dict, repr=False)

    def prepare_inpainter(self, seed: int, progress: Progress) -> None:
        """Call the inpainter's `prepare`, before it paints with this random seed.

        Raises:
            InputError: The inpainter cannot do this edit.
            RunError: The inpainter failed.
        """
        views, strength = tuple(seen.view for seen in self.views), self.recipe.schedule.strength
        context = EditContext(
            self.stack,
            self.region,
            self.guide,
            views,
            seed,
            progress,
            strength,
            self.shadow,
            self.recipe.shadow.strength,
            self.light,
        )
        with wrap_inpainter_errors(self.recipe.inpainter):
            self.inpainter.prepare(context)

    def over(self, shade: ShadeLayer) -> EditSession:
        """Return this edit with a shade layer between the scene and the layer to be made."""
        return replace(self, stack=self.stack.with_shade(shade.to(self.stack.device)), _ray_cache={})

    def within(self, region: Region, capture: Capture, progress: Progress) -> EditSession:
        """Return this edit in another region.

        Raises:
            InputError: The region cannot be used.
            RunError: The inpainter failed.
        """
        coverage, keep = self.recipe.schedule.min_coverage, self.inpainter.uses_render == "full"
        views = find_region_views(region, self.stack, capture, coverage, progress, keep)
        session = replace(self, region=region, views=views, _ray_cache={})
        session.prepare_inpainter(self.recipe.seed, progress)
        return session

    @property
    def shadow(self) -> ShadowKind:
        """The shade layer that the edit gets."""
        if self.inpainter.empties or isinstance(self.recipe.region, Heal):
            return "none"
        return self.recipe.shadow.kind or self.inpainter.shadow

    @property
    def rounds(self) -> int:
        """Rounds of painting and fitting."""
        return self.recipe.schedule.rounds or self.inpainter.rounds

    @property
    def batch(self) -> int:
        """Most views in one call of the inpainter."""
        return self.inpainter.batch or BATCH

    @property
    def joint_batch(self) -> int:
        """Most views in one call that paints them jointly: all, unless the inpainter limits it."""
        return self.inpainter.batch or max(1, len(self.views))

    @property
    def blend_width(self) -> float:
        """Width of the blend at the region's border, as a fraction of the region's diagonal."""
        given = self.recipe.schedule.blend_width
        return self.inpainter.blend_width if given is None else given

    @property
    def preset(self) -> FitPreset:
        """How the layer is fitted, unless the recipe says otherwise."""
        if isinstance(self.recipe.region, Heal) and not self.correction_options.any:
            return CONSISTENT._replace(steps=HEAL_STEPS)
        return INCONSISTENT if self.correction_options.any else CONSISTENT

    def fit_config(self, steps: int, first: bool = True) -> FitConfig:
        """Return the config of one fit of the layer, in the first round or in a later one."""
        preset, schedule = self.preset, self.recipe.schedule
        return FitConfig(
            steps=steps,
            rays=schedule.rays,
            lr=preset.lr if first else preset.later_lr,
            warmup_steps=min(preset.warmup_steps, max(FitConfig.warmup_steps, steps // 6)),
            mlp_lr_scale=preset.mlp_lr_scale,
            seed=self.recipe.seed,
        )

    @property
    def field_config(self) -> FieldConfig:
        """The size of the layer's field."""
        given = self.recipe.schedule.view_dependent
        return LAYER_FIELD.with_view_dependence(self.inpainter.view_dependent if given is None else given)

    @property
    def correction_options(self) -> CorrectionOptions:
        """How images are corrected while the layer is fitted to them."""
        schedule, default = self.recipe.schedule, not self.inpainter.consistent
        given = (schedule.match_color, schedule.match_warp, schedule.robust_weights)
        return CorrectionOptions(*(default if value is None else value for value in given))

    @property
    def approved(self) -> dict[int, str]:
        """The files of approved images, by the indices of their views."""
        names = {seen.view.name: index for index, seen in enumerate(self.views)}
        return {names[name]: file for name, file in self.recipe.approved.items() if name in names}

    def plan(self) -> list[Round]:
        """Return the rounds of painting and fitting."""
        schedule, center = self.recipe.schedule, self.region.bounds.mean(0)
        schedule = replace(schedule, steps=schedule.steps or self.preset.steps)
        return plan_rounds(schedule, self.rounds, self.views, center, tuple(self.approved))

    def cached_rays(self, config: FitConfig, progress: Progress) -> CachedRays:
        """Return the rays that see the region, computed once.

        Raises:
            InputError: There are none.
        """
        key = (config.max_rays, config.seed)
        if key not in self._ray_cache:
            inside = torch.cat([seen.mask.reshape(-1) for seen in self.views]).nonzero()[:, 0]
            with progress.task("Caching the scene around the region", total=1) as task:
                chosen = choose_pixels(inside, config.max_rays, config.seed)
                self._ray_cache[key] = cache_rays(self.stack, self.region, self._photograph_pixels(), chosen)
                task.advance(1)
        if not self._ray_cache[key].rays.count:
            raise InputError("the scene hides the region in every view: nothing of it can be seen")
        return self._ray_cache[key]

    def _photograph_pixels(self) -> PixelSet:
        photographs = [to_uint8(seen.view.photograph()) for seen in self.views]
        return PixelSet([seen.view.camera for seen in self.views], photographs)


def prepare(scene: Scene, recipe: Recipe, progress: Progress, paints: bool = True) -> EditSession:
    """Load what the recipe names, project the region, and check all of it before time is spent.

    Args:
        scene: The scene to edit.
        recipe: The edit.
        progress: Where the work is reported.
        paints: Whether the inpainter is going to paint.

    Raises:
        InputError: Something that the user can fix; the message says what to do.
        RunError: The inpainter failed.
    """
    with warnings_to(progress.warn):
        return _prepare(scene, recipe, progress, paints)


def _prepare(scene: Scene, recipe: Recipe, progress: Progress, paints: bool) -> EditSession:
    for deprecation in recipe.deprecations:
        progress.warn(deprecation)
    inpainter = load_inpainter(recipe.inpainter, recipe.inpainter_options)
    guide = load_guide(recipe, scene.capture)
    with wrap_inpainter_errors(recipe.inpainter):
        inpainter.check(guide)
    recipe = recipe.with_options(dict(inpainter.settled))
    capture = scene.capture
    for warning in capture.warnings:
        progress.warn(warning)
    note = None
    if guide.mesh is not None and recipe.guide.mesh is not None:
        note = size_note(recipe.guide.mesh, guide.mesh.bounds, camera_distance(capture))
    if note is not None:
        progress.warn(note)
    with explained_by(note, recipe.guide, guide, capture):
        return _with_region(scene, recipe, inpainter, guide, progress, paints)


def _with_region(
    scene: Scene, recipe: Recipe, inpainter: Inpainter, guide: Guide, progress: Progress, paints: bool
) -> EditSession:
    capture = scene.capture
    stack = scene.stack()
    if guide.mesh is not None:
        doubt = place_note(guide.mesh, recipe.guide, capture, stack)
        if doubt is not None:
            progress.warn(doubt)
    with progress.task("Building the region", total=1) as task:
        capture = replace(capture, reach=scene_reach(stack))
        removes = recipe.inpainter == REMOVES
        selector = Selector(stack, capture, progress, forgiving=removes)
        marked = recipe.region.build(capture, selector)
        region = with_margin(marked) if removes else marked
        task.advance(1)
    keep = inpainter.uses_render == "full"
    least = 0 if inpainter.empties else MIN_VIEWS  # nothing has to be seen in order to be emptied
    small = inpainter.empties or isinstance(recipe.region, Heal)
    coverage = 0 if small else recipe.schedule.min_coverage
    views = find_region_views(region, stack, capture, coverage, progress, keep, least)
    check_approved(recipe.approved, views, [view.name for view in capture.train])
    light = light_nearby(scene, region)
    session = EditSession(recipe, region, stack, views, inpainter, guide, marked, selector, light)
    if paints:
        session.prepare_inpainter(recipe.seed, progress)
    return session


def light_nearby(scene: Scene, region: Region) -> KeptLight | None:
    """Return the light that one of the layers shown has found at the place of a region, the nearest to it.

    Raises:
        InputError: A file of it is damaged.
    """
    files = [scene.layer_folder(entry) / kept_light.FILE for entry in scene.layers if scene.is_shown(entry)]
    at, size = region.bounds.mean(0), region.diagonal
    known = [KeptLight.load(file) for file in files if file.exists()]
    near = [(kept.distance(at, size), kept) for kept in known if kept.distance(at, size) <= 1]
    return min(near, key=lambda each: each[0])[1] if near else None


def with_margin(region: Region) -> Region:
    """Widen what was selected in the scene, whose surfaces are blurred: their outer half would stay.

    Regions that a person drew, and those with a distance of their own (`dilate`), stay as they are.
    """
    if isinstance(region, GridRegion):
        return DilatedRegion(region, MARGIN * region.diagonal)
    if isinstance(region, UnionRegion):
        return UnionRegion([with_margin(part) for part in region.regions])
    return region


def load_guide(recipe: Recipe, capture: Capture) -> Guide:
    """Read the files that the recipe's guide names.

    Args:
        recipe: The recipe.
        capture: The mesh is placed in its coordinates, relative to its origin.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    spec = recipe.guide
    return Guide(
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        references=tuple(map(read_reference, spec.references)),
        mesh=load_mesh(spec.mesh, load_pose(spec.pose, capture.origin, spec.up_axis, capture.up))
        if spec.mesh
        else None,
    )


def check_approved(
    approved: Mapping[str, str], views: Sequence[RegionView], training_views: Sequence[str]
) -> None:
    """Check the approved images of a recipe.

    Args:
        approved: The images' files, by the names of their views.
        views: The views that show the region.
        training_views: The names of all training views.

    Raises:
        InputError: An image belongs to no view that shows the region, or has neither the view's size nor
            that of its photograph, of which the view may be a smaller copy.
    """
    by_name = {seen.view.name: seen.view for seen in views}
    for name, file in approved.items():
        if name not in by_name:
            known = name in training_views
            reason = "does not show the region" if known else "is no training view of the capture"
            raise InputError(f"the approved image {file} is for {name}, which {reason}")
        height, width = read_image(file)[0].shape[:2]
        stored = by_name[name].full_size
        if (width, height) not in (by_name[name].size, stored):
            raise InputError(
                f"the approved image {file} is {width}x{height} pixels, {name} is {stored[0]}x{stored[1]}"
            )
