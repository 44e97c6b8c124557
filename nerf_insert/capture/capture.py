"""A capture: posed photographs, checked, and split into those to train and those to test on.

World coordinates are those of the capture's files, in its units; camera axes are OpenGL's. Where they are far
from zero, cameras and everything else inside the program are relative to `Capture.origin`; what people type
and what is written for them is not.
"""

from __future__ import annotations

import difflib
import posixpath
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture import dataparsers
from nerf_insert.capture.masks_beside import with_masks_beside
from nerf_insert.capture.orientation import fit_camera
from nerf_insert.capture.placement import up_of
from nerf_insert.capture.reading import Reading
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError, first_few
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import image_size

__all__ = ["Capture", "View"]

FEWEST = 3  # photographs that a capture needs


@dataclass(frozen=True)
class Capture:
    """Posed photographs of one scene.

    Attributes:
        path: The capture's folder, or its transforms.json.
        views: All photographs with their cameras, sorted by name.
        train: The views to train on.
        test: The views to test on, none of which is in `train`; empty where there are few photographs and the
            capture does not say which are to test on.
        warnings: What is wrong with the capture and can be lived with.
        reach: Where a base that was trained on it ends: the distance from a camera within a mask of its
            image, world units; None: unknown.
        origin: Where the views' coordinates have their origin, float64 in the capture's own coordinates.
        reading: How what the files leave open was taken.
        stated_up: Up as the files say, a unit vector; None: they do not.
    """

    path: Path
    views: tuple[View, ...]
    train: tuple[View, ...]
    test: tuple[View, ...]
    warnings: tuple[str, ...] = ()
    reach: Callable[[Camera, Tensor], float | None] | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    reading: Reading = field(default_factory=Reading)
    stated_up: tuple[float, float, float] | None = None

    @staticmethod
    def load(
        path: str | Path,
        *,
        dataparser: str | None = None,
        downscale: float | None = None,
        reading: Reading | None = None,
    ) -> Capture:
        """Load a capture; reads no pixels.

        Args:
            path: A folder, or a transforms.json.
            dataparser: The name of a format (see `dataparsers.FORMATS`) or of a dataparser of nerfstudio or
                of an installed plugin (default: what the folder's content suggests).
            downscale: How many times smaller cameras and photographs are to be.
            reading: How what the files leave open is taken.

        Raises:
            InputError: The message says what is wrong, and where.
        """
        path = Path(path).expanduser()
        if downscale is not None and not 0 < downscale < float("inf"):
            raise InputError(f"cannot scale the capture down by {downscale}: a positive number is needed")
        if not path.exists():
            raise InputError(f"there is no capture {path}")
        # a link to a file stays one: it may lead to a store of blobs, far from the photographs
        path = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        warnings = []
        if dataparser is None:
            path, note = dataparsers.capture_folder(path)
            warnings += [note] if note else []
        reading = reading or Reading()
        parsed = dataparsers.read(path, dataparser, reading)
        warnings += parsed.notes
        if parsed.missing:
            warnings.append(
                f"{len(parsed.missing)} of {len(parsed.missing) + len(parsed.views)} photographs that {path} "
                f"lists do not exist and are left out: {first_few(parsed.missing)}"
            )
        if len(parsed.views) < FEWEST:
            raise InputError(
                f"{path} has {len(parsed.views)} usable photographs, at least {FEWEST} are needed"
                + (f" ({'; '.join(warnings)})" if warnings else "")
            )
        found = sorted(parsed.views, key=lambda view: view.name)
        views = tuple(fit_camera(view, reading.pixels) for view in found)
        rescaled = [new.name for new, old in zip(views, found, strict=True) if new.size != old.size]
        if rescaled:
            warnings.append(
                f"{len(rescaled)} photographs have another size than their intrinsics, which were scaled "
                f"to match: {first_few(rescaled)}"
            )
        views, notes = with_masks_beside(views, path if path.is_dir() else path.parent)
        warnings += notes
        for view in views:
            check_mask(view)
        train, test = split([view.name for view in views], parsed.splits, parsed.default_split, warnings)
        capture = Capture(
            path,
            tuple(views),
            tuple(view for view in views if view.name in train),
            tuple(view for view in views if view.name in test),
            tuple(warnings),
            origin=parsed.origin,
            reading=replace(reading, origin=parsed.origin if any(parsed.origin) else None),
            stated_up=parsed.up,
        )
        return capture if downscale is None else capture.scaled(1 / downscale)

    def part(self, name: str) -> tuple[View, ...]:
        """Return the views of "train", of "test", or "all".

        Raises:
            InputError: There are none.
        """
        views = self.views if name == "all" else {"train": self.train, "test": self.test}[name]
        if not views:
            raise InputError(
                f"{self.path} has no {name} views: with {len(self.views)} photographs all of them are "
                "trained on, unless its transforms.json says which are not; use --split train"
            )
        return views

    def view(self, name: str | Path) -> View:
        """Return the view of a file_path, of its last folders and file name, of a file name or a stem.

        Raises:
            InputError: There is none or more than one; the message lists what comes near it.
        """

        def plain(name: str) -> str:
            """The name with forward slashes, without detours, in Unicode's composed form."""
            return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))

        wanted = plain(str(name))
        keys = (
            lambda view: plain(view.name),
            lambda view: plain(str(view.path)),
            lambda view: plain(view.name)[-len(wanted) - 1 :].removeprefix("/"),
            lambda view: plain(view.path.name),
            lambda view: plain(view.path.stem),
        )
        for key in keys:
            found = [view for view in self.views if key(view) == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                raise InputError(
                    f"{name} could be any of {first_few([view.name for view in found])}: give the whole path"
                )
        names = [view.name for view in self.views]
        near = (
            difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or [n for n in names if wanted in n][:3]
        )
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {first_few(names)}"
        raise InputError(f"the capture {self.path} has no photograph {name}: {hint}")

    def adjusted(
        self, poses: Mapping[str, Float[Tensor, "3 4"]], train: Collection[str], test: Collection[str]
    ) -> Capture:
        """Replace the poses of some views, and the split.

        Args:
            poses: Camera-to-world poses by the names of views.
            train: The names of the views to train on.
            test: The names of the views to test on.

        Returns:
            A new capture. Names that it does not have are ignored.
        """
        views = {
            view.name: replace(view, camera=replace(view.camera, c2w=poses[view.name]))
            if view.name in poses
            else view
            for view in self.views
        }
        train, test = set(train), set(test)
        return replace(
            self,
            views=tuple(views.values()),
            train=tuple(view for name, view in views.items() if name in train),
            test=tuple(view for name, view in views.items() if name in test),
        )

    def scaled(self, factor: float) -> Capture:
        """Scale every camera and photograph by a factor."""
        views = {view.name: replace(view, camera=view.camera.scaled(factor)) for view in self.views}
        chosen = {
            part: tuple(views[v.name] for v in getattr(self, part)) for part in ("views", "train", "test")
        }
        return replace(self, **chosen)

    @cached_property
    def up(self) -> Float[Tensor, " 3"]:
        """Up: as the files say, else as the photographs were held; a unit vector, world coordinates."""
        return up_of(self.views) if self.stated_up is None else torch.tensor(self.stated_up)

    def inside(self, points: Float[Tensor, "*N 3"] | Sequence[float]) -> Float[Tensor, "*N 3"]:
        """Return points of the capture's own coordinates relative to `origin`, float32."""
        points = torch.as_tensor(points, dtype=torch.float64)
        return (points - torch.tensor(self.origin, dtype=torch.float64)).float()

    def outside(self, points: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3"]:
        """Return points relative to `origin` in the capture's own coordinates, float64."""
        return points.double() + torch.tensor(self.origin, dtype=torch.float64)

    @cached_property
    def center_of_attention(self) -> Float[Tensor, " 3"]:
        """The point that the cameras look at, by nerfstudio's `focus_of_attention`, world coordinates."""
        from nerfstudio.cameras.camera_utils import focus_of_attention

        poses = torch.stack([view.camera.c2w for view in self.views]).double()
        center = poses[:, :, 3].mean(0)
        try:
            focus = focus_of_attention(poses.float(), center.float())
        except torch.linalg.LinAlgError:  # all look the same way
            focus = center.float()
        return focus if bool(focus.isfinite().all()) else center.float()


def camera_distance(capture: Capture) -> float:
    """Return how far the cameras are from what they look at, world units: the median."""
    center = capture.center_of_attention
    return float(torch.stack([(view.camera.center - center).norm() for view in capture.views]).median())


def check_mask(view: View) -> None:
    """Check the size of a view's mask.

    Raises:
        InputError: It is another than the photograph's.
    """
    if view.mask_path is None:
        return
    found, wanted = image_size(view.mask_path), view.full_size
    if found != wanted and not (view.orientation >= 5 and found == wanted[::-1]):
        raise InputError(
            f"the mask {view.mask_path} is {found[0]}x{found[1]} pixels but its photograph {view.path} "
            f"is {wanted[0]}x{wanted[1]}"
        )


def split(
    names: list[str], splits: dict[str, set[str]], default: str, warnings: list[str]
) -> tuple[set[str], set[str]]:
    """Split names into those to train and those to test on.

    Args:
        names: The names of all views.
        splits: The names that the capture lists for "train", "val" and "test".
        default: nerfstudio's own split where the capture lists none: "fraction" or "interval".
        warnings: Grows by what is wrong with the lists.

    Returns:
        Disjoint (train, test).
    """
    usable = set(names)
    train = splits.get("train", set()) & usable
    test = (splits.get("test") or splits.get("val") or set()) & usable
    if train & test:
        warnings.append(f"{len(train & test)} photographs are listed to train and to test on; they only test")
        train -= test
        if not train:
            test = set()
    if not test and train:
        test = usable - train
    if not train and test:
        train = usable - test
    return (train, test) if train and test else default_split(names, default)


def default_split(names: list[str], mode: str) -> tuple[set[str], set[str]]:
    """Split as nerfstudio's dataparsers nerfstudio ("fraction") and colmap ("interval") do.

    "fraction" holds back none of fewer than ten photographs.
    """
    from nerfstudio.data.utils import dataparsers_utils as utils

    if mode == "interval":
        train, test = utils.get_train_eval_split_interval(names, 8)
    else:
        train, test = utils.get_train_eval_split_fraction(names, 0.9)
    return {names[i] for i in train}, {names[i] for i in test}
