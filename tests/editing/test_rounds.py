"""What the rounds of an edit keep on disk: names of the version before are still read."""

import torch

from nerf_insert.editing.rounds import fit_module
from nerf_insert.fields.layer import Layer
from nerf_insert.regions import BoxRegion
from nerf_insert.training.view_corrections import ViewCorrections


class Stub(ViewCorrections):
    """Corrections of nothing, with the buffers alone."""

    def __init__(self, value):
        torch.nn.Module.__init__(self)
        self.register_buffer("color", torch.full((1, 3, 4), value))


def test_a_checkpoint_of_version_0_1_fits_the_module_of_a_fit():
    region = BoxRegion((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    now, then = fit_module(Layer(region, seed=1), Stub(1.0)), fit_module(Layer(region, seed=2), Stub(2.0))
    names = {"weight_ema": "seen", "density_bias": "start"}
    old = {}
    for name, tensor in then.state_dict().items():
        part, _, rest = name.partition(".")
        old[f"agreement.{rest}" if part == "corrections" else f"layer.{names.get(rest, rest)}"] = tensor
    now.load_state_dict(old)
    assert all(torch.equal(tensor, now.state_dict()[name]) for name, tensor in then.state_dict().items())
