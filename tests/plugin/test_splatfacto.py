"""A splatfacto run as a scene: the same images in the capture's own coordinates."""

import copy
from typing import Any

import pytest
import torch

from nerf_insert.cli.main import main
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.geometry.cameras import Camera
from nerf_insert.plugin.import_run import adopt, import_scene
from nerf_insert.plugin.run_capture import parse
from nerf_insert.plugin.run_reader import read_run
from nerf_insert.plugin.similarity import into_model, similarity
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.splats.moving import turned_harmonics
from nerf_insert.splats.splats import Splats


def parameters(count=300, degree=3) -> dict[str, torch.Tensor]:
    """Splats around the middle of nerfstudio's unit box, with the names that splatfacto gives them."""
    rng = torch.Generator().manual_seed(0)
    return {
        "means": torch.randn(count, 3, generator=rng) * 0.3,
        "scales": torch.randn(count, 3, generator=rng) * 0.4 - 3,
        "quats": torch.randn(count, 4, generator=rng),
        "features_dc": torch.randn(count, 3, generator=rng) * 0.5,
        "features_rest": torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=rng) * 0.2,
        "opacities": torch.randn(count, 1, generator=rng) + 1,
    }


@pytest.fixture
def run(tiny_folder, tmp_path):
    """A run folder with the config that nerfstudio writes for splatfacto."""
    from nerfstudio.configs.method_configs import method_configs
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    config: Any = copy.deepcopy(method_configs["splatfacto"])
    config.output_dir, config.experiment_name, config.timestamp = tmp_path, "e", "run"
    config.data = config.pipeline.datamanager.data = tiny_folder / "capture"
    config.pipeline.datamanager.dataparser = NerfstudioDataParserConfig(
        load_3D_points=True, downscale_factor=1
    )
    config.save_config()
    folder = config.get_base_dir() / "nerfstudio_models"
    folder.mkdir()
    weights = {f"_model.gauss_params.{name}": value for name, value in parameters().items()}
    torch.save({"step": 30, "pipeline": weights}, folder / "step-000000030.ckpt")
    return config.get_base_dir()


def test_the_scene_shows_what_the_splats_show_in_their_own_coordinates(run, tmp_path):
    scene = import_scene(run, tmp_path / "scene")
    base = scene.base
    assert isinstance(base, SplatField) and base.splats.count == 300 and not base.antialiased
    torch.testing.assert_close(base.background, torch.tensor([0.1490, 0.1647, 0.2157]))
    own = parameters()
    sh = torch.cat([own["features_dc"][:, None], own["features_rest"]], 1)
    model = SplatField(
        Splats(own["means"], own["scales"], own["quats"], own["opacities"][:, 0], sh), 1.0, base.background
    )
    parsed = parse(read_run(run), scene.capture.path, False)
    world = torch.stack([view.camera.c2w for view in scene.capture.train])
    to_model = similarity(world, parsed.poses)
    camera = scene.capture.train[0].camera
    pose = into_model(camera.c2w.double(), to_model).float()
    theirs = Camera(pose, camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    expected = LayerStack(model).render_image(theirs).rgb
    found = LayerStack(base).render_image(camera).rgb
    # float32 rounds a mean to 1e-7 of its size, a pixel to 1e-5; alphas near 1/255 may come or go
    assert (found - expected).abs().mean() < 1e-4 and (found - expected).abs().max() < 0.01
    assert expected.std() > 0.05


def test_turned_harmonics_are_turned_colors():
    """Degree 1 turns like a vector: its coefficients are those of -y, z, -x."""
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double())[0]
    turn = turn * torch.linalg.det(turn)
    matrix = turned_harmonics(turn, 16)
    order = torch.tensor([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]]).double()
    torch.testing.assert_close(matrix[1:4, 1:4], order @ turn @ order.T, atol=1e-9, rtol=0)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16).double(), atol=1e-9, rtol=0)
    assert matrix[0, 0] == pytest.approx(1) and matrix[4:9, 9:].abs().max() < 1e-9


def test_what_does_not_fit_is_told(run, tmp_path, capsys):
    with pytest.raises(Exception, match="train --nerfstudio"):
        adopt(read_run(run))
    file = run / "nerfstudio_models" / "step-000000030.ckpt"
    state = torch.load(file)
    state["pipeline"]["_model.gauss_params.features_rest"] = torch.zeros(300, 8, 3)
    torch.save(state, file)
    assert main(["train", "--nerfstudio", str(run), "--out", str(tmp_path / "no")]) == 2
    assert "9 coefficients a color, its degree is 3" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
