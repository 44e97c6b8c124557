"""A splat file as a scene: placed cameras, cameras of a file, a capture, and an edit."""

import json
import math
import shutil

import pytest
import torch

from nerf_insert.capture import placed_cameras
from nerf_insert.capture.capture import Capture
from nerf_insert.capture.placed_cameras import place_cameras
from nerf_insert.capture.transforms_writer import camera_fields
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.evaluation.scene_psnr import mean_psnr
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.adopt_splats import adopt_splats, source_file
from nerf_insert.scene.scene import Scene
from nerf_insert.splats.files import write_splats
from nerf_insert.splats.splats import Splats


def ball_of_splats(count=300, radius=1.0, center=(0.0, 0.0, 0.0)) -> Splats:
    """Small round splats on a sphere."""
    rng = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=1) * radius
    quaternions = torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous()
    sh = torch.rand(count, 1, 3, generator=rng) - 0.5
    size = torch.full((count, 3), math.log(0.1 * radius))
    return Splats(means + torch.tensor(center), size, quaternions, torch.full((count,), 3.0), sh)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(placed_cameras, "SIZE", (64, 48))
    monkeypatch.setattr(placed_cameras, "FOCAL", 62.0)
    monkeypatch.setattr(placed_cameras, "RINGS", ((0.0, 5), (40.0, 4)))
    monkeypatch.setattr(placed_cameras, "PROBE", 0.5)


@pytest.fixture
def file(tmp_path):
    write_splats(tmp_path / "ball.ply", ball_of_splats())
    return tmp_path / "ball.ply"


def transforms(cameras, folder) -> str:
    frames = [
        {"file_path": f"{k}.png", "transform_matrix": [*c.c2w.tolist(), [0.0, 0, 0, 1]], **camera_fields(c)}
        for k, c in enumerate(cameras)
    ]
    (folder / "cameras.json").write_text(json.dumps({"camera_model": "OPENCV", "frames": frames}))
    return str(folder / "cameras.json")


def test_the_photographs_may_come_in_a_zip(file, capture_folder, tmp_path):
    zipped = shutil.make_archive(str(tmp_path / "photos"), "zip", capture_folder)
    scene = adopt_splats(file, tmp_path / "scene", capture=zipped)
    assert len(scene.capture.views) == 14 and scene.capture.path.is_relative_to(tmp_path / "scene")


def test_without_photographs_the_renders_are_the_photographs(file, tmp_path, small):
    scene = adopt_splats(file, tmp_path / "scene", up=(0, 0, 1))
    assert len(scene.capture.views) == 9 and scene.capture.path == (tmp_path / "scene/capture").resolve()
    # 8 bits round by up to half a step: 20 log10(255 * sqrt(12))
    psnr = mean_psnr(scene.base, scene.capture.train, SILENT)
    assert psnr is not None and psnr > 58
    torch.testing.assert_close(scene.capture.up, torch.tensor([0.0, 0.0, 1.0]), atol=0.5, rtol=0)
    again = Scene.open(tmp_path / "scene")
    camera = again.capture.views[0].camera
    assert torch.equal(again.stack().render_image(camera).rgb, scene.stack().render_image(camera).rgb)
    copy = source_file(again)
    assert copy is not None and copy.read_bytes() == file.read_bytes()


def test_a_capture_or_a_base_of_somebody_else_is_left_alone(file, tmp_path, small):
    """Whatever lies where a scene would be written is there unchanged after the refusal."""
    for name in ("capture/transforms.json", "capture/images/0000.png", "base/splats.ply"):
        out = tmp_path / name.replace("/", "-")
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("somebody's own")
        with pytest.raises(
            InputError, match=f"{out / name.split('/')[0]} holds something else.*another --out"
        ):
            adopt_splats(file, out, up=(0, 0, 1))
        assert [(p, p.read_text()) for p in out.rglob("*") if p.is_file()] == [(out / name, "somebody's own")]


def test_what_was_interrupted_can_be_repeated(file, tmp_path, small, monkeypatch):
    out = tmp_path / "scene"

    def killed(*_):
        raise KeyboardInterrupt

    for where in ("Capture.load", "Scene.create"):
        owner, name = where.split(".")
        with monkeypatch.context() as patched:
            patched.setattr({"Capture": Capture, "Scene": Scene}[owner], name, killed)
            with pytest.raises(KeyboardInterrupt):
                adopt_splats(file, out, up=(0, 0, 1))
    assert (out / "base" / "splats.ply").exists() and not (out / "scene.json").exists()
    assert len(adopt_splats(file, out, up=(0, 0, 1)).capture.views) == 9


def test_splats_are_antialiased_as_their_file_says(tmp_path, small):
    pytest.importorskip("gsply")
    for antialiased in (False, True):
        file = tmp_path / f"{antialiased}.spz"
        write_splats(file, ball_of_splats(), antialiased=antialiased)
        scene = adopt_splats(file, tmp_path / str(antialiased), up=(0, 0, 1))
        assert isinstance(scene.base, SplatField) and scene.base.antialiased is antialiased


def test_splats_far_from_zero(tmp_path, small):
    """As of a map projection: inside the program they are near zero, as their cameras are."""
    write_splats(tmp_path / "far.ply", ball_of_splats(radius=100.0, center=(4e5, 5e6, 0.0)))
    scene = adopt_splats(tmp_path / "far.ply", tmp_path / "scene", up=(0, 0, 1))
    assert isinstance(scene.base, SplatField)
    assert scene.origin[1] > 4e6 and float(scene.base.splats.means.abs().max()) < 2000
    psnr = mean_psnr(scene.base, scene.capture.train, SILENT)
    # float32 rounds a coordinate of 5e6 to 0.5, in the images that stand for photographs
    assert psnr is not None and psnr > 25


def test_cameras_stand_outside_of_things_and_inside_of_rooms(small):
    def opaque_sphere(radius):
        """Depth along rays to the near or, from inside, the far side of a sphere around the origin."""

        def render(camera):
            rays = camera.rays()
            b = (rays.origins * rays.directions).sum(1)
            inner = b * b - rays.origins.square().sum(1) + radius**2
            root = inner.clamp_min(0).sqrt()
            depth = torch.where(-b - root > 0, -b - root, -b + root)
            depth = torch.where((inner > 0) & (depth > 0), depth, math.inf)
            shape = (camera.height, camera.width)
            return depth.isfinite().float().view(shape), depth.view(shape), torch.full(shape, 0.01)

        return render

    up = torch.tensor([0.0, 0.0, 1.0])
    points = ball_of_splats(500, 1.0).means
    thing = place_cameras(points, up, opaque_sphere(1.0))
    assert min(float(camera.center.norm()) for _, camera in thing) > 2
    # a room: furniture in the middle, walls of radius 6 that most content lies on
    room = torch.cat([points, ball_of_splats(1500, 6.0).means])
    clutter = torch.cat([points * 3, ball_of_splats(1500, 6.0).means])

    def walls_from_outside(camera):
        opacity, depth, size = opaque_sphere(6.0)(camera)
        outside = camera.center.norm() > 6
        return opacity, depth * 0.01 if outside else depth, size  # what is near is in the way

    for content in (room, clutter):
        inside = place_cameras(content, up, walls_from_outside)
        assert max(float(camera.center.norm()) for _, camera in inside) < 6.5


def test_a_thing_is_in_the_middle_of_its_views():
    """A slender thing whose splats are mostly at its foot, seen whole from all around."""
    rng = torch.Generator().manual_seed(0)
    height = torch.cat([torch.rand(900, generator=rng) * 0.5, torch.rand(300, generator=rng) * 3])
    points = torch.cat([0.2 * torch.randn(1200, 2, generator=rng), height[:, None]], 1)

    def look(camera):
        shown = camera.project(points).pixels
        opacity = torch.zeros(camera.height, camera.width)
        x, y = shown.long().unbind(1)
        inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
        opacity[y[inside], x[inside]] = 1
        far = (camera.center - points.mean(0)).norm()
        return opacity, far * torch.where(opacity > 0, 1.0, math.inf), torch.full_like(opacity, 0.01)

    for _, camera in place_cameras(points, torch.tensor([0.0, 0.0, 1.0]), look):
        projection = camera.project(points)
        assert projection.inside.float().mean() > 0.97  # two in a hundred may lie outside the bounds
        span = projection.pixels[:, 1].amax() - projection.pixels[:, 1].amin()
        if abs(float(camera.c2w[2, 2])) < 0.1:  # level
            assert span > 0.6 * camera.height


def test_cameras_stay_where_a_scene_is_clear(small):
    """Splats that were trained on photographs from one side are a blur from the others."""
    points = ball_of_splats(500, 1.0).means
    side = torch.tensor([0.6, 0.8, 0.0])

    def look(camera):
        toward = torch.nn.functional.normalize(camera.center, dim=0)
        depth = torch.full((camera.height, camera.width), float(camera.center.norm()))
        size = (0.01 if toward @ side > math.cos(math.radians(40)) else 0.5) * depth
        return torch.ones_like(depth), depth, size

    cameras = [camera for _, camera in place_cameras(points, torch.tensor([0.0, 0.0, 1.0]), look)]
    assert len(cameras) >= 12
    for camera in cameras:
        assert torch.nn.functional.normalize(camera.center, dim=0) @ side > math.cos(math.radians(40))


def test_cameras_of_a_file(file, tmp_path, small, capsys):
    like = adopt_splats(file, tmp_path / "one", up=(0, 0, 1))
    cameras = [view.camera.resized(20, 16) for view in like.capture.views[:4]]
    command = ["train", "--splat", str(file), "--cameras", transforms(cameras, tmp_path), "--json"]
    assert main([*command, "--out", str(tmp_path / "scene"), "--background", "1,0,0"]) == 0
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["splats"] == 300 and answer["psnr"] is None
    scene = Scene.open(tmp_path / "scene")
    assert [(v.camera.width, v.camera.height) for v in scene.capture.views] == [(20, 16)] * 4
    corner = scene.capture.views[0].photograph()[0, 0]
    assert corner.tolist() == [1, 0, 0]


def test_with_photographs_their_psnr_is_told(file, tmp_path, small, capsys):
    scene = adopt_splats(file, tmp_path / "one", up=(0, 0, 1))
    command = [
        "train",
        str(scene.capture.path),
        "--splat",
        str(file),
        "--out",
        str(tmp_path / "two"),
        "--json",
    ]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["psnr"] > 50
    moved = ball_of_splats(center=(50.0, 0.0, 0.0))
    write_splats(tmp_path / "moved.ply", moved)
    command[3], command[5] = str(tmp_path / "moved.ply"), str(tmp_path / "three")
    assert main(command) == 0
    assert "do not look like the photographs" in "".join(capsys.readouterr())


def test_what_does_not_fit_together(file, tmp_path, capsys):
    out = ["--out", str(tmp_path / "scene")]
    splat = ["train", "--splat", str(file), *out]
    for wrong, message in {
        ("train", "x", "--antialiased", *out): "--antialiased is for --splat",
        (*splat, "--steps", "10"): "--steps is for training",
        (*splat, "--downscale", "2"): "--downscale is for the photographs of a capture",
        (*splat, "--up", "0,0,0"): "the up direction must not be zero",
        (*splat, "--background", "0,2,0"): "must lie between 0 and 1",
        (*splat, "--nerfstudio", "c.yml"): "exclude each other",
        (*splat, str(tmp_path), "--cameras", "c.json"): "give either a capture or cameras",
    }.items():
        assert main(list(wrong)) == 2
        assert message in capsys.readouterr().err
    invisible = ball_of_splats(5)
    invisible.opacity_logits[:] = -20
    write_splats(tmp_path / "nothing.ply", invisible)
    with pytest.raises(InputError, match="hold nothing that can be seen"):
        adopt_splats(tmp_path / "nothing.ply", tmp_path / "scene")
    assert not (tmp_path / "scene" / "scene.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("coarse_light")
def test_an_edit_leaves_the_other_pixels_as_they_were(file, tmp_path, small):
    """A box of splats removed by `fill`: the same bits wherever rays miss the box."""
    from nerf_insert import Box, edit
    from nerf_insert.rendering.stack import hits

    scene = adopt_splats(file, tmp_path / "scene", up=(0, 0, 1))
    edit(scene, region=Box((0.0, 0.0, 0.9), (1.0, 1.0, 0.6)), seed=1, schedule={"steps": 60, "rays": 1024})
    stack = scene.stack()
    changed = 0.0
    for view in scene.capture.views:
        before, after = LayerStack(stack.base).render_image(view.camera), stack.render_image(view.camera)
        meets = hits(stack.layers[0].region, view.camera.rays()).view(before.depth.shape)
        assert torch.equal(before.rgb[~meets], after.rgb[~meets])
        changed = max(changed, float((before.rgb - after.rgb).abs().max()))
    assert changed > 0.1
