"""Painted pictures that contradict one another: what each of them is corrected by while a layer is fitted.

Every view gets an affine change of color, a small smooth warp, and a share of trust; patches of it that
the others do not confirm weigh less. All of it is found from how the layer, which has to show one thing
from every side, differs from the pictures, and is thrown away when the layer is done: the mean of all
views' colors and places is what counts, and no warp is left.

N is the number of rays, V that of views, B that of rays looked at; places are pixels, (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.sampling import sample_bilinear

CONTROLS = 5  # points along each side of a view's region at which its warp is free
ITERATIONS = 3  # Gauss-Newton steps of a warp in one revision
FARTHEST = 0.03  # that a warp may move a pixel, as a share of the picture's width
BLUR = 0.004  # of pictures that are to be aligned, as a share of their width
STIFF, SMOOTH = 0.05, 0.3  # weights of a warp's size and of its differences, in shares of what pixels say
# How firmly a channel's offset, its gain, and the mixing of channels are held: gains of a layer that shows
# nothing clearly yet would come out near 0, and their differences be blown up when the mean is taken out.
OFFSET, GAIN, MIXED = 2e-3, 2e-2, 1e-1
SOFT = 0.1  # residual at which a pixel counts half
PATCH = 0.03  # side of a patch, as a share of the picture's width
SETTLED = 2  # revisions after which warps are found and patches judged; before, the layer is too coarse
USUAL = 0.05  # share of a view's pixels that may be contradicted without its standing out
SPREAD = 0.25  # least spread of views' log errors, so that equally good views stay equally good
INCONSISTENT, REFUSED = 2.0, 4.0  # spreads above the median from which a view weighs less, and nothing
NOISE = 0.03  # a patch's error that is no contradiction
LOOKED_AT = 20_000  # rays of all views that a revision looks at


@dataclass(frozen=True)
class Corrections:
    """Which of them are made."""

    colors: bool = True
    warps: bool = True
    weights: bool = True

    @property
    def any(self) -> bool:
        return self.colors or self.warps or self.weights


class ViewCorrections(nn.Module):
    """The targets of N rays of V views, with the corrections; all state is in buffers, for checkpoints.

    It stays on the CPU, wherever the layer is.
    """

    def __init__(
        self,
        pixels: PixelSet,
        chosen: Int64[Tensor, " N"],
        corrections: Corrections,
        motions: Float[Tensor, "V 2 3"] | None = None,
    ):
        """`chosen`: the rays' index into the pixels of the pictures. `motions`: by how many pixels, for each
        unit along x, y and z of the world, a thing in the region moves in the views (`motions_of`); without
        them warps keep what they have in common."""
        super().__init__()
        self.motions = motions
        view, places = pixels.places(chosen)
        pictures = pixels.pictures()
        self.corrections, self.view, self.places = corrections, view, places
        self.looked_at = torch.arange(0, len(view), max(1, len(view) // LOOKED_AT))
        self.patches = _Patches(pictures, view, places)
        count = len(pictures)
        self.crops: dict[int, _Crop] = {
            v: _Crop(pictures[v], places[view == v]) for v in view.unique().tolist()
        }
        self._there: tuple[Tensor, ...] | None = None  # what the loss needs, on the device of the layer
        self.register_buffer("color", torch.eye(3, 4).repeat(count, 1, 1))
        self.register_buffer("warp", torch.zeros(count, CONTROLS**2, 2))
        self.register_buffer("trust", torch.ones(count))
        self.register_buffer("weight", torch.ones(len(view)))
        self.register_buffer("revisions", torch.zeros((), dtype=torch.int64))
        self.register_buffer("targets", torch.zeros(len(view), 3))
        self._move_targets()

    def corrections_found(self) -> dict[str, Tensor]:
        """What `go_on_from` takes, by name."""
        return {"color": self.color, "warp": self.warp, "trust": self.trust}

    @torch.no_grad()
    def go_on_from(self, found: Mapping[str, Tensor], views: Sequence[int]) -> None:
        """Start with corrections that were found before, of views whose pictures are the same as then."""
        index, self._there = torch.tensor(sorted(views), dtype=torch.int64), None
        for name, tensor in self.corrections_found().items():
            tensor[index] = found[name][index]
        self.weight.copy_(self.trust[self.view])
        self.revisions += SETTLED
        self._move_targets()

    def loss(
        self, shown: Float[Tensor, "B 3"], batch: Int64[Tensor, " B"], huber: float
    ) -> Float[Tensor, ""]:
        """How far what is shown is from the targets of rays `batch`, a weighted mean of Huber losses."""
        if self._there is None:
            kept = (self.view, self.color, self.targets, self.weight)
            self._there = tuple(tensor.to(shown.device) for tensor in kept)
        view, color, targets, weights = self._there
        if self.corrections.colors:
            shown = recolor(color[view[batch]], shown)
        error = torch.nn.functional.huber_loss(shown, targets[batch], reduction="none", delta=huber)
        weight = weights[batch]
        return (weight * error.mean(-1)).sum() / weight.sum().clamp_min(1e-6)

    @torch.no_grad()
    def revise(self, shown: Float[Tensor, "B 3"]) -> None:
        """Find all corrections anew from what the rays `looked_at` show now."""
        shown, self._there = shown.cpu(), None
        view, places = self.view[self.looked_at], self.places[self.looked_at].float()
        error = torch.zeros(len(view))
        settled = int(self.revisions) >= SETTLED
        for v, crop in self.crops.items():
            rays = (view == v).nonzero()[:, 0]
            if not len(rays):
                continue
            here, place, warp = shown[rays], places[rays], self.warp[v]
            if self.corrections.colors:
                self.color[v] = fit_color(here, crop.at(place + crop.move(place, warp)))
            if self.corrections.warps and settled:
                warp = crop.align(place, recolor(self.color[v], here), warp)
                self.warp[v] = warp
                if self.corrections.colors:
                    self.color[v] = fit_color(here, crop.at(place + crop.move(place, warp)))
            target = crop.at(place + crop.move(place, warp))
            error[rays] = (recolor(self.color[v], here) - target).abs().mean(-1)
        if self.corrections.colors:
            self._center_colors()
        if self.corrections.warps:
            self._center_warps()
            self._move_targets()
        if self.corrections.weights:
            self._weigh(view, error, settled)
        self.revisions += 1

    def _center_colors(self) -> None:
        """Let the trusted views' mean change be none: the layer takes on what they have in common."""
        present = torch.tensor(sorted(self.crops))
        share = self.trust[present] / self.trust[present].sum()
        mean = (share[:, None, None] * self.color[present]).sum(0)
        linear = self.color[:, :, :3] @ torch.linalg.inv(mean[:, :3])
        self.color[:, :, 3] -= linear @ mean[:, 3]
        self.color[:, :, :3] = linear

    def _center_warps(self) -> None:
        """Let no move in space explain the trusted views' warps: the layer need not stay where the first
        pictures that it was fitted to have put it."""
        if self.motions is None:
            return
        present = torch.tensor(sorted(self.crops))
        moved = []
        for v in present.tolist():
            places = self.places[self.looked_at[self.view[self.looked_at] == v]].float()
            moved.append(self.crops[v].move(places, self.warp[v]).mean(0) if len(places) else torch.zeros(2))
        weight = self.trust[present].sqrt()[:, None]
        motions = self.motions[present]
        left, right = weight[..., None] * motions, weight * torch.stack(moved)
        common = torch.linalg.pinv(left.flatten(0, 1), rtol=1e-3) @ right.flatten()
        self.warp[present] -= (motions @ common)[:, None]

    def _move_targets(self) -> None:
        for v, crop in self.crops.items():
            rays = (self.view == v).nonzero()[:, 0]
            place = self.places[rays].float()
            self.targets[rays] = crop.at(place + crop.move(place, self.warp[v]))

    def _weigh(self, view: Int64[Tensor, " B"], error: Float[Tensor, " B"], patches: bool) -> None:
        wrong = error**2 / (error**2 + SOFT**2)  # Geman and McClure's: so far as a pixel is contradicted
        count = torch.zeros(len(self.trust)).index_add_(0, view, torch.ones_like(error))
        share = torch.zeros(len(self.trust)).index_add_(0, view, wrong) / count.clamp_min(1)
        present = count > 0
        self.trust[present] = trust_of(share[present] + USUAL)
        self.weight.copy_(self.trust[self.view])
        if patches:
            self.weight *= self.patches.weigh(self.looked_at, error, self.weight)


def motions_of(cameras: Sequence[Camera], point: Float[Tensor, "3"]) -> Float[Tensor, "V 2 3"]:
    """By how many pixels a point (world coordinates) moves in each picture for a unit along x, y and z; by
    none where it is not in the picture."""
    found = []
    for camera in cameras:
        step = 1e-3 * float((point - camera.center).norm())
        ends = point.double() + step * torch.cat([torch.eye(3), -torch.eye(3)]).double()
        pixels, _, inside = camera.project(ends)
        found.append((pixels[:3] - pixels[3:]).T / (2 * step) * bool(inside.all()))
    return torch.stack(found).float()


def recolor(color: Float[Tensor, "*B 3 4"], rgb: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    """Affine changes of color, one for each or one for all."""
    return (color[..., :3] @ rgb[..., None])[..., 0] + color[..., 3]


def fit_color(shown: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"]) -> Float[Tensor, "3 4"]:
    """The affine change that takes `shown` to `target` best, with pixels far off counting less and held
    towards no change."""
    held = torch.full((3, 4), MIXED)
    held[:, 3] = OFFSET
    held[range(3), range(3)] = GAIN
    color = torch.eye(3, 4)
    known = torch.nn.functional.pad(shown, (0, 1), value=1.0)
    for _ in range(3):
        weight = _soft(recolor(color, shown) - target)
        square = (known * weight[:, None]).T @ known / len(known)
        right = (known * weight[:, None]).T @ (target - shown) / len(known)
        change = torch.linalg.solve(square + torch.diag_embed(held), right.T[:, :, None])  # per channel
        color = torch.eye(3, 4) + change[:, :, 0]
    return color


def trust_of(errors: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    """1 for views whose error is like most views', less for those far above, 0 in the end."""
    logs = errors.clamp_min(1e-4).log()
    middle = logs.median()
    spread = max(1.4826 * float((logs - middle).abs().median()), SPREAD)
    over = (logs - middle) / spread
    return ((REFUSED - over) / (REFUSED - INCONSISTENT)).clamp(0, 1)


def _soft(residual: Float[Tensor, "B 3"]) -> Float[Tensor, " B"]:
    return 1 / (1 + (residual.abs().mean(-1) / SOFT) ** 2)


class _Crop:
    """The part of a picture around its rays, and the smooth warps of it."""

    def __init__(self, picture: UInt8[Tensor, "H W 3"], places: Int64[Tensor, "n 2"]):
        height, width = picture.shape[:2]
        self.low, self.high = places.amin(0).float(), places.amax(0).float()
        self.farthest = FARTHEST * width
        margin = int(self.farthest) + 2
        x0, y0 = (places.amin(0) - margin).clamp_min(0).tolist()
        x1, y1 = (places.amax(0) + margin + 1).tolist()
        self.corner = torch.tensor([x0, y0]).float()
        self.picture = picture[y0 : min(y1, height), x0 : min(x1, width)].clone()
        self.blur = BLUR * width

    def at(self, places: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """Colors 0..1 at places of the whole picture, between pixels bilinear."""
        return _sample(self.picture.float().movedim(-1, 0) / 255, places - self.corner)

    def move(self, places: Float[Tensor, "n 2"], warp: Float[Tensor, "G 2"]) -> Float[Tensor, "n 2"]:
        """By how much a warp moves places."""
        return self._basis(places) @ warp

    def align(
        self, places: Float[Tensor, "n 2"], shown: Float[Tensor, "n 3"], warp: Float[Tensor, "G 2"]
    ) -> Float[Tensor, "G 2"]:
        """The warp under which the picture looks most like what is shown, from `warp` on: Lucas and Kanade
        1981 on a grid of control points, held towards small and smooth ones."""
        channels = _blurred(self.picture.float().movedim(-1, 0) / 255, self.blur)
        slopes = torch.stack(torch.gradient(channels, dim=(2, 1)), 0)  # [xy, 3, h, w]
        basis = self._basis(places)
        best, lowest = warp, float("inf")
        for _ in range(ITERATIONS + 1):
            at = places + basis @ warp - self.corner
            residual = shown - _sample(channels, at)
            cost = float(torch.log1p((residual.abs().mean(-1) / SOFT) ** 2).sum())
            if cost < lowest:
                best, lowest = warp, cost
            weight = _soft(residual)
            slope = torch.stack([_sample(part, at) for part in slopes], 1)  # [n, xy, 3]
            jacobian = (basis[:, :, None, None] * slope[:, None]).flatten(1, 2)  # [n, 2 G, 3]
            weighted = jacobian * weight[:, None, None]
            square = torch.einsum("nic,njc->ij", weighted, jacobian)
            right = torch.einsum("nic,nc->i", weighted, residual)
            held = float(square.diagonal().mean().clamp_min(1e-9)) * _stiffness()
            warp = warp + torch.linalg.solve(square + held, right - held @ warp.flatten()).view_as(warp)
            warp = warp.clamp(-self.farthest, self.farthest)
        return best

    def _basis(self, places: Float[Tensor, "n 2"]) -> Float[Tensor, "n G"]:
        """Bilinear weights of the control points."""
        unit = (places - self.low) / (self.high - self.low).clamp_min(1) * (CONTROLS - 1)
        hats = (1 - (unit[:, :, None] - torch.arange(CONTROLS)).abs()).clamp_min(0)
        return (hats[:, 1, :, None] * hats[:, 0, None, :]).flatten(1)


def _stiffness() -> Float[Tensor, "G2 G2"]:
    """The quadratic form of a warp's size and of the differences between neighboring control points."""
    chain = 2 * torch.eye(CONTROLS) - torch.diag(torch.ones(CONTROLS - 1), 1)
    chain = chain - torch.diag(torch.ones(CONTROLS - 1), -1)
    chain[0, 0] = chain[-1, -1] = 1
    one = torch.eye(CONTROLS)
    form = STIFF * torch.eye(CONTROLS**2) + SMOOTH * (torch.kron(one, chain) + torch.kron(chain, one))
    return torch.kron(form, torch.eye(2))


def _sample(channels: Float[Tensor, "C h w"], at: Float[Tensor, "n 2"]) -> Float[Tensor, "n C"]:
    """Channels at columns and rows, which are whole numbers at the centers of pixels."""
    return sample_bilinear(channels.movedim(0, -1), at + 0.5)


def _blurred(channels: Float[Tensor, "C h w"], sigma: float) -> Float[Tensor, "C h w"]:
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(channels, 2 * max(1, round(2.5 * sigma)) + 1, max(sigma, 0.3))


class _Patches:
    """Small squares of all views."""

    def __init__(
        self,
        pictures: Sequence[UInt8[Tensor, "H W 3"]],
        view: Int64[Tensor, " N"],
        places: Int64[Tensor, "N 2"],
    ):
        sides = torch.tensor([max(4, round(PATCH * picture.shape[1])) for picture in pictures])
        cell = places // sides[view][:, None]
        columns = int(cell[:, 0].max()) + 1
        key = (view * (int(cell[:, 1].max()) + 1) + cell[:, 1]) * columns + cell[:, 0]
        known, self.of_ray = torch.unique(key, return_inverse=True)
        self.number = len(known)

    def weigh(
        self, looked_at: Int64[Tensor, " B"], error: Float[Tensor, " B"], trust: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """The rays' shares by their patches: 1 up to twice the median error, half at four times that."""
        patch = self.of_ray[looked_at]
        count = torch.zeros(self.number).index_add_(0, patch, torch.ones_like(error))
        mean = torch.zeros(self.number).index_add_(0, patch, error) / count.clamp_min(1)
        trusted = mean[self.of_ray[looked_at[trust[looked_at] > 0.5]]]
        usual = max(float(trusted.median()), NOISE) if len(trusted) else NOISE
        over = (mean - 2 * usual).clamp_min(0) / (2 * usual)
        return (1 / (1 + over**2))[self.of_ray]
