"""Inpainters for tests, named as painters:Class."""

from pathlib import Path

import torch

from nerf_insert.errors import InputError
from nerf_insert.io.images import read_image


class Truth:
    """Hands back the true pictures, which are in the folder `truth` under the photographs' names."""

    rounds = 1

    def __init__(self, truth):
        self.truth = Path(truth)

    def inpaint(self, views, guide, *, strength, seed):
        return [read_image(self.truth / Path(view.name).name)[0] for view in views]


class Liar(Truth):
    """Some of its pictures are of something else."""

    def __init__(self, truth, wrong):
        super().__init__(truth)
        self.wrong = wrong

    def inpaint(self, views, guide, *, strength, seed):
        true = super().inpaint(views, guide, strength=strength, seed=seed)
        yellow = torch.tensor([1.0, 0.9, 0.0])
        return [
            yellow.expand(picture.shape) if view.name in self.wrong else picture
            for view, picture in zip(views, true, strict=True)
        ]


class Green:
    """Paints everything green, and notes what it was given."""

    calls = []  # noqa: RUF012

    def inpaint(self, views, guide, *, strength, seed):
        Green.calls.append((list(views), guide, strength, seed))
        return [torch.tensor([0.0, 1.0, 0.0]).expand(*view.mask.shape, 3) for view in views]


class Seeded(Green):
    """One color for each seed."""

    @staticmethod
    def color(seed):
        return torch.tensor([seed * 16.0, 255.0 - seed, 128.0]) / 255

    def inpaint(self, views, guide, *, strength, seed):
        super().inpaint(views, guide, strength=strength, seed=seed)
        return [self.color(seed).expand(*view.mask.shape, 3) for view in views]


class Foresighted(Seeded):
    """Decides on its color when it is prepared, as `fill` does."""

    def prepare(self, context):
        self.seed = context.seed

    def inpaint(self, views, guide, *, strength, seed):
        return super().inpaint(views, guide, strength=strength, seed=self.seed)


class Quick(Green):
    """One round, four views at once, and does not look at renders."""

    rounds, batch, blend_width, uses_render = 1, 4, 0.0, "none"


class Masked(Quick):
    """Looks at renders inside the mask only."""

    uses_render = "mask"


class Ready(Quick):
    """Wants to be prepared."""

    contexts = []  # noqa: RUF012

    def check(self, guide):
        if guide.prompt == "impossible":
            raise InputError("nobody can paint that: ask for something else")

    def prepare(self, context):
        Ready.contexts.append(context)


class Choosy(Quick):
    """Takes the brush that is there, unless it is told which to take."""

    there = "broad"

    def __init__(self, brush="auto"):
        self.brush = brush

    def check(self, guide):
        if self.brush == "auto":
            self.brush = self.there
            self.settled = {"brush": self.brush}

    def inpaint(self, views, guide, *, strength, seed):
        Green.calls.append((list(views), self.brush, strength, seed))
        return [torch.zeros_like(view.image) for view in views]


class Bad(Quick):
    """Does one thing wrong."""

    def __init__(self, how):
        self.how = how
        if how.startswith("rounds") or how.startswith("batch") or how.startswith(("shell", "blend_width")):
            name, value = how.split("=")
            setattr(self, name, None if value == "None" else float(value) if "." in value else int(value))

    def check(self, guide):
        if self.how == "check":
            raise ValueError("no idea")

    def prepare(self, context):
        if self.how == "prepare":
            raise KeyError("weights")

    def distances(self, rays):
        return {
            "as many as rays": lambda: torch.full((rays.count,), 1.5),
            "too few": lambda: torch.ones(rays.count - 1),
            "a list": lambda: [1.0] * rays.count,
            "lost": lambda: {}["depth"],
        }.get(self.how, lambda: None)()

    def inpaint(self, views, guide, *, strength, seed):
        good = super().inpaint(views, guide, strength=strength, seed=seed)
        return {
            "None": lambda: None,
            "one short": lambda: good[1:],
            "generator": lambda: (picture for picture in good),
            "one tensor": lambda: torch.stack(good),
            "arrays": lambda: [picture.numpy() for picture in good],
            "size": lambda: [picture[:-1] for picture in good],
            "channels": lambda: [torch.cat([picture, picture[..., :1]], -1) for picture in good],
            "bytes": lambda: [(picture * 255).byte() for picture in good],
            "to 255": lambda: [picture * 255 for picture in good],
            "NaN": lambda: [
                picture.where(~view.mask[..., None], torch.nan)
                for picture, view in zip(good, views, strict=True)
            ],
            "infinite": lambda: [picture / 0 for picture in good],
            "raises": lambda: [][3],
            "memory": lambda: (_ for _ in ()).throw(MemoryError()),
            "NaN outside": lambda: [
                picture.where(view.mask[..., None], torch.nan)
                for picture, view in zip(good, views, strict=True)
            ],
            "half": lambda: [picture.half() for picture in good],
            "overshoot": lambda: [picture * 1.2 - 0.1 for picture in good],
        }.get(self.how, lambda: good)()
