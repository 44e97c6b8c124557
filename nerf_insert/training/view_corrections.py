"""Per-view corrections (color, warp, weight) estimated while a layer is fitted to inconsistent images.

Every view gets an affine color transform, a small smooth warp, and a weight (its trust); patches of it that
the render does not confirm weigh less. All of it is estimated from the difference between the images and the
layer, which has to show one object from every side, and is discarded when the layer is done: the mean color
and position of all views remain, and no warp.

N is the number of rays, V that of views, B that of rays sampled; positions are pixels, (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.geometry.cameras import Camera
from nerf_insert.training.image_warp import CONTROL_POINTS, to_present_grid
from nerf_insert.training.robust_fit import SOFT_RESIDUAL, PatchWeights, clip_alike, recolor, view_trust
from nerf_insert.training.surroundings import Surroundings
from nerf_insert.training.view_evidence import ViewEvidence

BURN_IN = 2  # revisions before warps are estimated and patches weighed: until then the layer is too coarse
USUAL = 0.05  # fraction of a view's pixels that may be contradicted without making the view stand out
SHARED_STEP = 0.3  # of what views from one side have in common, removed at each revision
JUDGED_VIEWS = 12  # by which it is judged whether the surroundings of the region tell about the inside
SAMPLED_RAYS = 20_000  # rays of all views that a revision compares
OLD_NAMES = {"colour": "color"}  # buffers and corrections files of version 0.1.0


@dataclass(frozen=True)
class CorrectionOptions:
    """Which corrections are estimated."""

    color: bool = True
    warp: bool = True
    weights: bool = True

    @property
    def any(self) -> bool:
        """Whether there is any correction at all."""
        return self.color or self.warp or self.weights


class ViewCorrections(nn.Module):
    """The targets of N rays of V views, with their corrections. All state is in buffers, for checkpoints.

    The module stays on the CPU, wherever the layer is.

    Attributes:
        color: The transform from the layer's colors to each view's.
        warp: The displacement of each view's control points, in pixels.
        trust: The weight of each view, 0..1.
        weight: The weight of each ray, 0..1: that of its view and of its patch.
        revisions: How often the corrections were estimated.
        targets: The color that each ray should show, before `color`.
        sampled: The rays that `revise` compares.
    """

    color: Float[Tensor, "V 3 4"]
    warp: Float[Tensor, "V G 2"]
    trust: Float[Tensor, " V"]
    weight: Float[Tensor, " N"]
    revisions: Int64[Tensor, ""]
    targets: Float[Tensor, "N 3"]

    def __init__(
        self,
        pixels: PixelSet,
        chosen: Int64[Tensor, " N"],
        options: CorrectionOptions,
        motions: Float[Tensor, "V 2 3"] | None = None,
        around: Mapping[int, Surroundings] | None = None,
    ):
        """Start with the corrections that the surroundings tell, or without any.

        Args:
            pixels: The pixels of the images.
            chosen: The rays, as an index into `pixels`.
            options: Which corrections are estimated.
            motions: How the region moves in each view (`view_motions`); without them the part that all
                warps have in common is kept.
            around: What is known around the region, by the number of the view.
        """
        super().__init__()
        self.options, self.motions = options, motions
        self.view, self.xy = pixels.view_and_xy(chosen)
        images = pixels.images()
        self.sampled = torch.arange(0, len(self.view), max(1, len(self.view) // SAMPLED_RAYS))
        self.patches = PatchWeights(images, self.view, self.xy)
        around = around or {}
        self.evidence: dict[int, ViewEvidence] = {
            v: ViewEvidence(images[v], self.xy[self.view == v], around.get(v))
            for v in self.view.unique().tolist()
        }
        self.around_tells = dict.fromkeys(
            ("color", "warp"), any(e.has_surroundings for e in self.evidence.values())
        )
        self._on_device: tuple[Tensor, ...] | None = None  # what the loss needs, on the device of the layer
        count = len(images)
        self.register_buffer("color", torch.eye(3, 4).repeat(count, 1, 1))
        self.register_buffer("warp", torch.zeros(count, CONTROL_POINTS**2, 2))
        self.register_buffer("trust", torch.ones(count))
        self.register_buffer("weight", torch.ones(len(self.view)))
        self.register_buffer("revisions", torch.zeros((), dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(len(self.view), 3))
        self.register_load_state_dict_pre_hook(_accept_old_buffers)
        for v, evidence in self.evidence.items():
            if options.color:
                self.color[v] = evidence.color
            if options.warp:
                self.warp[v] = evidence.warp
        self._warp_targets()

    def estimates(self) -> dict[str, Tensor]:
        """Return what `start_from` takes, by name."""
        return {"color": self.color, "warp": self.warp, "trust": self.trust}

    @torch.no_grad()
    def start_from(self, estimates: Mapping[str, Tensor], views: Sequence[int]) -> None:
        """Take over the estimates of an earlier round for views whose images are still the same."""
        estimates = {OLD_NAMES.get(name, name): tensor for name, tensor in estimates.items()}
        index, self._on_device = torch.tensor(sorted(views), dtype=torch.int64), None
        estimates["warp"] = to_present_grid(estimates["warp"])
        for name, tensor in self.estimates().items():
            tensor[index] = estimates[name][index]
        self.weight.copy_(self.trust[self.view])
        self.revisions += BURN_IN
        self._warp_targets()

    def loss(
        self, rendered: Float[Tensor, "B 3"], batch: Int64[Tensor, " B"], huber: float
    ) -> Float[Tensor, ""]:
        """Return the weighted mean Huber loss between rendered colors and the targets of rays `batch`."""
        if self._on_device is None:
            kept = (self.view, self.color, self.targets, self.weight)
            self._on_device = tuple(tensor.to(rendered.device) for tensor in kept)
        view, color, targets, weights = self._on_device
        if self.options.color:
            rendered = recolor(color[view[batch]], rendered)
        target = targets[batch]
        rendered = clip_alike(rendered, target)
        error = torch.nn.functional.huber_loss(rendered, target, reduction="none", delta=huber)
        weight = weights[batch]
        return (weight * error.mean(-1)).sum() / weight.sum().clamp_min(1e-6)

    @torch.no_grad()
    def revise(self, rendered: Float[Tensor, "B 3"]) -> None:
        """Estimate all corrections anew from the present render of the rays `sampled`."""
        rendered, self._on_device = rendered.cpu(), None
        view, xy = self.view[self.sampled], self.xy[self.sampled].float()
        error = torch.zeros(len(view))
        settled = int(self.revisions) >= BURN_IN
        if settled:
            self._judge_surroundings(view, xy, rendered)
        for v, evidence in self.evidence.items():
            rays = (view == v).nonzero()[:, 0]
            if not len(rays):
                continue
            at, shown, around = xy[rays], rendered[rays], self.around_tells
            if self.options.color:
                self.color[v] = evidence.fit_color(at, shown, self.warp[v], around["color"])
            if self.options.warp and settled:
                self.warp[v] = evidence.fit_warp(at, shown, self.color[v], self.warp[v], around["warp"])
                if self.options.color:
                    self.color[v] = evidence.fit_color(at, shown, self.warp[v], around["color"])
            error[rays] = evidence.error(at, shown, self.color[v], self.warp[v])
        if self.options.color and not self.around_tells["color"]:
            self._center_colors()
        if self.options.warp:
            if not self.around_tells["warp"]:
                self._center_warps()
            self._warp_targets()
        if self.options.weights:
            self._update_weights(view, error, settled)
        self.revisions += 1

    def _judge_surroundings(
        self, view: Int64[Tensor, " B"], xy: Float[Tensor, "B 2"], rendered: Float[Tensor, "B 3"]
    ) -> None:
        """Find out whether what happened around the region foretells what happened inside it.

        It does if the corrections that follow from the surroundings alone take away at least half of the
        error that those take away which are fitted to the inside.
        """
        judged = [v for v, evidence in self.evidence.items() if evidence.has_surroundings]
        judged = [v for v in judged[:: max(1, len(judged) // JUDGED_VIEWS)] if bool((view == v).any())]
        if not judged:
            return
        errors = torch.zeros(len(judged), 2, 3)
        for number, v in enumerate(judged):
            evidence, rays = self.evidence[v], (view == v).nonzero()[:, 0]
            at, shown, color, warp = xy[rays], rendered[rays], self.color[v], self.warp[v]
            inside = evidence.fit_color(at, shown, warp, around=False)
            for way, tried in enumerate((torch.eye(3, 4), evidence.color, inside)):
                errors[number, 0, way] = evidence.error(at, shown, tried, warp).mean()
            moved = evidence.fit_warp(at, shown, color, torch.zeros_like(warp), around=False)
            for way, tried in enumerate((torch.zeros_like(warp), evidence.warp, moved)):
                errors[number, 1, way] = evidence.error(at, shown, color, tried).mean()
        none, around, inside = errors.median(0).values.unbind(-1)
        tells = around <= (none + inside) / 2
        self.around_tells = dict(zip(("color", "warp"), tells.tolist(), strict=True))

    def _center_colors(self) -> None:
        """Make the trusted views' mean color transform the identity: the layer takes on what they share.

        Views from one side have a part of their own in common, too: how one side of the layer looks can be
        exchanged for how its views are changed. It is removed step by step.
        """
        present = torch.tensor(sorted(self.evidence))
        fraction = self.trust[present] / self.trust[present].sum()
        mean = (fraction[:, None, None] * self.color[present]).sum(0)
        self.color[:] = _after(self.color, mean)
        if self.motions is None:
            return
        towards = torch.nn.functional.normalize(torch.linalg.cross(self.motions[:, 0], self.motions[:, 1]))
        alike = (towards[present] @ towards[present].T).clamp_min(0) ** 2 * self.trust[present]
        fraction = alike / alike.sum(1, keepdim=True).clamp_min(1e-6)
        shared = torch.einsum("uv,vij->uij", fraction, self.color[present])
        seen = alike.sum(1)[:, None, None] > 0
        shared = torch.where(
            seen, torch.lerp(torch.eye(3, 4).expand_as(shared), shared, SHARED_STEP), torch.eye(3, 4)
        )
        self.color[present] = _after(self.color[present], shared)

    def _center_warps(self) -> None:
        """Remove from the trusted views' warps what one translation in space explains.

        So the layer need not stay where the first images that it was fitted to have put it.
        """
        if self.motions is None:
            return
        present = torch.tensor(sorted(self.evidence))
        moved = []
        for v in present.tolist():
            xy = self.xy[self.sampled[self.view[self.sampled] == v]].float()
            mean = self.evidence[v].crop.displacement(xy, self.warp[v]).mean(0) if len(xy) else torch.zeros(2)
            moved.append(mean)
        weight = self.trust[present].sqrt()[:, None]
        motions = self.motions[present]
        left, right = weight[..., None] * motions, weight * torch.stack(moved)
        common = torch.linalg.pinv(left.flatten(0, 1), rtol=1e-3) @ right.flatten()
        self.warp[present] -= (motions @ common)[:, None]

    def _warp_targets(self) -> None:
        """Sample every ray's target from its warped image."""
        for v, evidence in self.evidence.items():
            rays = (self.view == v).nonzero()[:, 0]
            self.targets[rays] = evidence.target(self.xy[rays].float(), self.warp[v])

    def _update_weights(self, view: Int64[Tensor, " B"], error: Float[Tensor, " B"], patches: bool) -> None:
        """Set the trust of views, and the weights of rays, from the errors of the sampled rays."""
        contradicted = error**2 / (error**2 + SOFT_RESIDUAL**2)  # Geman and McClure's: 0 to 1 per pixel
        rays = torch.zeros(len(self.trust)).index_add_(0, view, torch.ones_like(error))
        fraction = torch.zeros(len(self.trust)).index_add_(0, view, contradicted) / rays.clamp_min(1)
        present = rays > 0
        self.trust[present] = view_trust(fraction[present] + USUAL)
        self.weight.copy_(self.trust[self.view])
        if patches:
            self.weight *= self.patches.evaluate(self.sampled, error, self.weight)


def _after(color: Float[Tensor, "V 3 4"], other: Float[Tensor, "... 3 4"]) -> Float[Tensor, "V 3 4"]:
    """Return the transforms that, applied after `other`, do what `color` does."""
    linear = color[..., :3] @ torch.linalg.inv(other[..., :3])
    return torch.cat([linear, color[..., 3:] - linear @ other[..., 3:]], -1)


def _accept_old_buffers(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Accept state under the names of version 0.1.0, and warps of an older grid."""
    for old, new in OLD_NAMES.items():
        if prefix + old in state:
            state[prefix + new] = state.pop(prefix + old)
    if prefix + "warp" in state:
        state[prefix + "warp"] = to_present_grid(state[prefix + "warp"])


def view_motions(cameras: Sequence[Camera], point: Float[Tensor, "3"]) -> Float[Tensor, "V 2 3"]:
    """Return by how many pixels a point moves in each of V images per world unit along x, y and z.

    The point is in world coordinates; where it is outside an image, the motion there is zero.
    """
    motions = []
    for camera in cameras:
        step = 1e-3 * float((point - camera.center).norm())
        ends = point.double() + step * torch.cat([torch.eye(3), -torch.eye(3)]).double()
        pixels, _, inside = camera.project(ends)
        motions.append((pixels[:3] - pixels[3:]).T / (2 * step) * bool(inside.all()))
    return torch.stack(motions).float()
