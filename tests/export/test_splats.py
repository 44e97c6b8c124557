"""Scenes as splat files: what stays as it was, what is cut, shadows in the colors, layers as splats."""

import json
import math
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from analytic import look_at
from formula import Ball
from splat_scenes import BOX, add_box_and_shadow, cameras_around, cloud

from nerf_insert.cli.main import main
from nerf_insert.export.splat_base import divide, quaternions_of, shaded_colors
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.files import write_json
from nerf_insert.kernels.reference_splatting import rotation_matrices
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.scene.adopt_splats import adopt_splats
from nerf_insert.scene.scene import LayerEntry, Scene
from nerf_insert.splats.files import read_splats
from nerf_insert.splats.ply import inria_dtype, rows_of_splats, write_rows
from nerf_insert.splats.splats import SH_C0, Splats


def one(scale, quaternion=(1.0, 0, 0, 0), mean=(0.0, 0.0, 0.0), opacity=0.6) -> Splats:
    sh = torch.full((1, 1, 3), 0.4)
    return Splats(
        torch.tensor([mean]),
        torch.tensor([scale]).log(),
        torch.tensor([quaternion]),
        torch.tensor([opacity]).logit(),
        sh,
    )


# --- cutting


def test_half_of_a_splat_is_the_half_normal_distribution():
    """Mean sqrt(2 / pi) and variance 1 - 2 / pi of the half, whatever its own axes."""
    turn = torch.tensor([0.9, 0.1, -0.3, 0.2])
    half_space = BoxRegion((-50.0, 0.0, 0.0), (100.0, 200.0, 200.0))
    scale = 0.2
    found = divide(one([scale] * 3, tuple(turn.tolist())), [half_space])
    assert not found.kept.any() and found.cut.tolist() == [0]
    part = found.parts
    # 256 points: a share is known to 1/256, a mean to a few hundredths of a standard deviation
    torch.testing.assert_close(
        part.means[0], torch.tensor([0.2 * math.sqrt(2 / math.pi), 0, 0]), atol=0.01, rtol=0
    )
    axes = rotation_matrices(part.quaternions)[0] * part.scales[0]
    true = scale**2 * torch.diag(torch.tensor([1 - 2 / math.pi, 1.0, 1.0]))
    torch.testing.assert_close(axes @ axes.T, true, atol=0.1 * scale**2, rtol=0)
    assert float(part.opacities) == pytest.approx(0.6 * 0.5 / math.sqrt(1 - 2 / math.pi), rel=0.05)


def test_what_is_clearly_inside_or_outside_is_not_cut():
    parts = [one([0.01] * 3, mean=mean) for mean in ((0.5, 0.0, 0.2), (0.9, 0.0, 0.2), (0.5, 0.0, 9.0))]
    large = one([20.0] * 3)  # the region is a small part of it
    found = divide(Splats.joined([*parts, large]), [BOX])
    assert found.kept.tolist() == [False, True, True, True] and not len(found.cut)


def test_quaternions_turn_as_their_rotations():
    q = torch.nn.functional.normalize(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    torch.testing.assert_close(rotation_matrices(quaternions_of(rotation_matrices(q))), rotation_matrices(q))


# --- shadows


@dataclass
class Half:
    """A shade of 1/2 in linear light, in a ball."""

    region: Ball

    def meets(self, rays):
        return self.region.entry(rays).isfinite()

    def shade(self, points, rgb):
        dark = linear_to_srgb(0.5 * srgb_to_linear(rgb))
        return torch.where(self.region.contains(points)[:, None], dark, rgb)


def test_a_shadow_is_in_the_colors_of_the_splats_in_it():
    splats = cloud(degree=1)
    ball = Ball((0.0, 0.0, 0.2), 0.3)
    changed, sh = shaded_colors(splats, [Half(ball)])
    inside = ball.contains(splats.means)
    assert torch.equal(changed, inside) and torch.equal(sh[~inside], splats.sh[~inside])
    before, after = (0.5 + SH_C0 * part[inside, 0] for part in (splats.sh, sh))
    normal = ((before > 0.01) & (before < 0.99)).all(1)
    expected = linear_to_srgb(0.5 * srgb_to_linear(before[normal]))
    torch.testing.assert_close(after[normal], expected, atol=1e-4, rtol=0)
    # the directional part: to first order, as the same shade changes the color seen
    shift = SH_C0 * splats.sh[inside, 0] * 0 + 0.02
    slope = (
        linear_to_srgb(0.5 * srgb_to_linear(before + shift)) - linear_to_srgb(0.5 * srgb_to_linear(before))
    ) / 0.02
    ratio = sh[inside, 1] / splats.sh[inside, 1]
    torch.testing.assert_close(ratio[normal], slope[normal], atol=0.03, rtol=0)


# --- files


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """A scene from a PLY with a column of its own, one layer in it and a shadow beside that."""
    folder = tmp_path_factory.mktemp("splats")
    splats = cloud()
    names = inria_dtype(1).descr
    dtype = np.dtype([*names[:5], ("label", "<u2"), *names[5:]])
    rows = rows_of_splats(splats, dtype)
    rows["label"] = np.arange(len(rows))
    write_rows(folder / "cloud.ply", dtype, [rows])
    scene = adopt_splats(
        folder / "cloud.ply", folder / "scene", cameras=cameras_around(folder / "cameras.json")
    )
    add_box_and_shadow(scene)
    return folder


def export(folder, name, *flags):
    out = folder / name
    command = [
        "export",
        str(folder / "scene"),
        "splat",
        "--out",
        str(out),
        "--splats",
        "3000",
        "--steps",
        "40",
    ]
    assert main([*command, "--quiet", *flags]) == 0
    return out


def rows_of(file):
    """Read a PLY without the code under test: the rows behind its header."""
    data = file.read_bytes()
    head, body = data.split(b"end_header\n", 1)
    kinds = {"float": "<f4", "ushort": "<u2"}
    columns = [line.split()[1:] for line in head.decode().splitlines() if line.startswith("property")]
    return np.frombuffer(body, [(name, kinds[kind]) for kind, name in columns])


def test_splats_outside_the_regions_are_written_as_they_were_read(edited):
    before, after = rows_of(edited / "cloud.ply"), rows_of(export(edited, "out.ply"))
    assert before.dtype == after.dtype
    means = torch.from_numpy(np.stack([before[k] for k in "xyz"], 1))
    scene = Scene.open(edited / "scene")
    shade, layer = scene.stack().layers
    assert isinstance(shade, ShadeLayer)
    scales = torch.from_numpy(np.stack([before[f"scale_{k}"] for k in range(3)], 1)).exp()
    away = ~layer.region.contains(means) & (layer.region.distance(means) > 3 * scales.amax(1))
    away &= (shade.ratio(means) == 1).all(1)
    assert away.sum() > 500
    kept = before[away.numpy()]
    place = np.flatnonzero(np.isin(after["label"], kept["label"]) & (np.arange(len(after)) < len(before)))
    found = after[place][: len(kept)]
    assert found.tobytes() == kept.tobytes()  # each of them, in their order
    dark = ~layer.region.contains(means) & (shade.ratio(means) < 0.9).all(1)
    dark &= layer.region.distance(means) > 3 * scales.amax(1)
    assert dark.sum() > 10
    changed = after[np.isin(after["label"], before["label"][dark.numpy()])][: int(dark.sum())]
    for name in before.dtype.names or ():
        same = changed[name].tobytes() == before[name][dark.numpy()].tobytes()
        assert same == (not name.startswith("f_"))


def test_the_file_shows_what_the_scene_shows(edited):
    """Unseen views: what lies outside of the edit stays, what lies in it is close to its renders."""
    splats, _ = read_splats(export(edited, "seen.ply"))
    scene, camera = Scene.open(edited / "scene"), look_at((1.7, 1.2, 0.6))
    stack = scene.stack()
    shown = LayerStack(SplatField(splats, 1.0)).render_image(camera).rgb
    expected = stack.render_image(camera).rgb
    before = LayerStack(scene.base).render_image(camera).rgb
    rays = camera.rays()
    met = hits(stack.fields[0][1].region, rays).view(48, 64)
    wrong, change = ((image - expected).square() for image in (shown, before))
    assert wrong[met].mean() < 0.15 * change[met].mean()
    assert wrong[~met].mean() < 0.2 * change[~met].mean() + 1e-4


def test_without_layers_it_is_the_file(edited):
    assert export(edited, "before.ply", "--before").read_bytes() == (edited / "cloud.ply").read_bytes()


@pytest.mark.parametrize("name", ["out.splat", "out.glb"])
def test_other_kinds_hold_as_many_splats(edited, name, capsys):
    assert export(edited, name, "--json").stat().st_size > 1000
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["kept"] + answer["recolored"] + answer["cut"] + answer["added"] == answer["splats"]
    assert answer["kept"] + answer["recolored"] + answer["cut"] + answer["dropped"] == 1200
    assert min(answer["dropped"], answer["cut"], answer["added"], answer["recolored"]) > 0
    if name.endswith(".splat"):
        assert (edited / name).stat().st_size == 32 * answer["splats"]


def test_a_layer_alone(edited, capsys):
    splats, _ = read_splats(export(edited, "layer.ply", "--layer", "2"))
    assert (BOX.distance(splats.means) < 0.1).all() and splats.count > 100
    out = ["--out", str(edited / "no.ply")]
    assert main(["export", str(edited / "scene"), "splat", *out, "--layer", "1"]) == 2
    assert "shade layer" in capsys.readouterr().err
    assert main(["export", str(edited / "scene"), "splat", "--out", str(edited / "no.obj")]) == 2
    assert "splats are written as" in capsys.readouterr().err
    assert main(["export", str(edited / "scene"), "mesh", *out, "--layer", "1"]) == 2


def test_what_is_removed_leaves_the_rest(edited, tmp_path, capsys):
    """The layer shows nothing: what stays is the base without the splats in the region."""
    shutil.copytree(edited / "scene", tmp_path / "scene")
    scene = Scene.open(tmp_path / "scene")
    scene.remove(2)  # with its shadow
    home = scene.folder / "layers" / "002-gone"
    write_json(home / "region" / "region.json", BOX.save(home / "region"))
    Layer(BOX, density_bias=-50.0).save(home / "field.safetensors")
    scene.add(LayerEntry("002-gone", "gone"))
    before, after = rows_of(edited / "cloud.ply"), rows_of(export(tmp_path, "out.ply"))
    means, scales = (
        torch.from_numpy(np.stack([before[c] for c in names], 1))
        for names in (["x", "y", "z"], ["scale_0", "scale_1", "scale_2"])
    )
    reach = 3 * scales.exp().amax(1, keepdim=True)
    away = ~BOX.contains(means) & (BOX.distance(means) > reach[:, 0])
    corners = torch.cartesian_prod(*(torch.tensor([-1.0, 1.0]),) * 3)
    inside = torch.stack([BOX.contains(means + reach * corner) for corner in corners]).all(0)
    assert away.sum() > 500 and inside.sum() > 1
    assert np.isin(before["label"][away.numpy()], after["label"]).all()
    assert not np.isin(before["label"][inside.numpy()], after["label"]).any()
    out = ["--out", str(tmp_path / "page.html")]
    assert main(["export", str(tmp_path / "scene"), "html", *out]) == 0
    capsys.readouterr()
    out = ["--out", str(tmp_path / "no.ply"), "--layer", "1"]
    assert main(["export", str(tmp_path / "scene"), "splat", *out]) == 1
    assert "in the region of layer 1 (gone): export the scene as a whole" in capsys.readouterr().err


def test_a_nerf_becomes_splats(tiny_folder, tmp_path, capsys):
    """Fitted to its renders from the training views, they show about the same from others."""
    out = tmp_path / "tiny.ply"
    command = ["export", str(tiny_folder / "scene"), "splat", "--out", str(out), "--json"]
    assert main([*command, "--splats", "4000", "--steps", "80"]) == 0
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    splats, _ = read_splats(out)
    assert answer["splats"] == answer["added"] == splats.count <= 4000 and answer["kept"] == 0
    scene = Scene.open(tiny_folder / "scene")
    camera = scene.capture.test[0].camera
    expected = LayerStack(scene.base).render_image(camera).rgb
    shown = LayerStack(SplatField(splats, 1.0)).render_image(camera).rgb
    error, spread = (shown - expected).square().mean(), (expected - expected.mean((0, 1))).square().mean()
    assert error < 0.06 * spread  # 0.02 was seen
