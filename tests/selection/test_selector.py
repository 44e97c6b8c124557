"""Things selected by clicks, against their true outlines: balls on a floor, known in closed form."""

import json

import pytest
import torch
from photographed_balls import make, outline, overlap, pixel

from nerf_insert.editing.region_views import dilate, visible_mask
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.io.images import write_image
from nerf_insert.regions import BoxRegion, GridRegion, Heal, Masks, Points, VisualHull, load_region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.selection.selector import Selector
from nerf_insert.splats.splats import Splats

RED = (0.0, 0.0, 0.25, 0.25, (0.9, 0.2, 0.1))
BLUE = (0.46, 0.0, 0.22, 0.22, (0.1, 0.2, 0.9))  # touches the red one
FAR_AWAY = (-0.9, 0.9, 0.2, 0.2, (0.2, 0.7, 0.2))


class Warnings(Progress):
    def __init__(self):
        super().__init__()
        self.texts = []

    def warn(self, text):
        self.texts.append(text)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return make(tmp_path_factory.mktemp("one"), [RED, FAR_AWAY])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make(tmp_path_factory.mktemp("two"), [RED, BLUE])


def test_one_click_selects_the_thing_in_every_photograph(one, tmp_path):
    region = Selector(one.stack, one.capture).select(Points({"002": [pixel(one, "002", RED)]}))
    for view in one.capture.views:
        # a ball of about 20 pixels across: an outline that is off by half a pixel costs a tenth
        assert overlap(region.project(view.camera), outline(view.camera, RED)) > 0.85, view.name
    saved = region.save(tmp_path)
    again = load_region(json.loads(json.dumps(saved)), tmp_path)
    points = 0.7 * torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) - 0.3
    assert isinstance(again, GridRegion)
    assert torch.equal(region.contains(points), again.contains(points))


def discs(points, normals, width):
    """Flat splats on a surface, standing on its points."""
    n = torch.nn.functional.normalize(normals, dim=1)
    turn = torch.nn.functional.normalize(
        torch.stack([1 + n[:, 2], -n[:, 1], n[:, 0], torch.zeros(len(n))], 1), dim=1
    )
    scales = torch.tensor([width, width, 0.05 * width]).log().expand(len(n), 3).contiguous()
    gray = torch.zeros(len(n), 1, 3)
    return Splats(points, scales, turn, torch.full((len(n),), 0.9).logit(), gray)


def test_one_click_on_splats(one):
    """The ball is as large as its splats alone are drawn, with their blur of half a pixel."""
    side = torch.linspace(-1.4, 1.4, 90)
    x, y = torch.meshgrid(side, side, indexing="ij")
    ground = torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)
    parts = [discs(ground, torch.tensor([[0.0, 0.0, 1.0]]).expand(len(ground), 3), 0.025)]
    for ball in (RED, FAR_AWAY):
        out = torch.nn.functional.normalize(
            torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)), dim=1
        )
        out = out[out[:, 2] > -0.98]
        parts.append(discs(torch.tensor(ball[:3]) + ball[3] * out, out, 0.02))
    stack, alone = (LayerStack(SplatField(Splats.joined(some), 1.0)) for some in (parts, parts[1:2]))
    region = Selector(stack, one.capture).select(Points({"002": [pixel(one, "002", RED)]}))
    for view in one.capture.views:
        drawn = alone.render_image(view.camera).accumulation > 0.5
        assert overlap(region.project(view.camera), drawn) > 0.85, view.name


def test_a_click_more_and_a_click_less(two):
    selector = Selector(two.stack, two.capture)
    click, other = {"003": [pixel(two, "003", RED)]}, {"003": [pixel(two, "003", BLUE)]}
    camera = two.capture.view("003").camera
    both = selector.select(Points(click)).project(camera)
    assert overlap(both, outline(camera, RED) | outline(camera, BLUE)) > 0.85  # they touch: one thing
    alone = selector.select(Points(click, other)).project(camera)
    # what is left of the other one is no more than the bridge of voxels that joins them
    assert overlap(alone, outline(camera, RED) & ~(outline(camera, BLUE) & ~outline(camera, RED))) > 0.85


def sees(scene, region, view, at):
    """Whether a photograph shows a region at a pixel."""
    mask = visible_mask(region, scene.stack, scene.capture.view(view))
    return bool(mask[int(at[1]), int(at[0])])


def test_every_click_holds_and_leaves_the_rest_alone(one):
    """A click above the ball is made a part of it, one on its rim taken from it, in this photograph."""
    selector, camera = Selector(one.stack, one.capture), one.capture.view("002").camera
    at = pixel(one, "002", RED)
    first = selector.select(Points({"002": [at]}))
    rows, columns = first.project(camera).nonzero().unbind(-1)
    middle = float(columns.float().mean())
    below = (middle + 0.5, float(rows.max()) + 2.5)  # on the floor, two pixels below the ball
    rim = (float(columns.max()) - 1.5, float(rows[columns == columns.max()].float().mean()) + 0.5)
    more = selector.select(Points({"002": [at, below]}))
    assert not sees(one, first, "002", below) and sees(one, more, "002", below)
    less = selector.select(Points({"002": [at]}, {"002": [rim]}))
    assert sees(one, first, "002", rim) and not sees(one, less, "002", rim)
    both = selector.select(Points({"002": [at, below]}, {"002": [rim]}))
    assert sees(one, both, "002", below) and not sees(one, both, "002", rim) and sees(one, both, "002", at)
    for region, (x, y) in ((more, below), (less, rim)):
        changed = (region.project(camera) != first.project(camera)).nonzero().float()
        # a click reaches as far again as the outline is from it, 4 pixels at least, and a cell more
        assert float((changed + 0.5 - torch.tensor([y, x])).norm(dim=-1).max()) < 8
        for view in one.capture.views:  # a ball of 20 pixels across: a bite of 4 by 4 of it is a twentieth
            assert overlap(region.project(view.camera), first.project(view.camera)) > 0.85, view.name


def test_a_selection_does_not_depend_on_what_was_selected_before(one):
    at = pixel(one, "002", RED)
    rim = (at[0] + 7, at[1])
    kept = Selector(one.stack, one.capture)
    kept.select(Points({"002": [at]}))
    again = kept.select(Points({"002": [at]}, {"003": [rim]}))
    anew = Selector(one.stack, one.capture).select(Points({"002": [at]}, {"003": [rim]}))
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) - torch.tensor([0.5, 0.5, 0.3])
    assert torch.equal(again.distance(points), anew.distance(points))


def test_clicks_on_two_things_select_both_with_a_warning(one):
    warnings = Warnings()
    clicks = {"002": [pixel(one, "002", RED)], "004": [pixel(one, "004", FAR_AWAY)]}
    region = Selector(one.stack, one.capture, warnings).select(Points(clicks))
    assert bool(region.contains(torch.tensor([RED[:3], FAR_AWAY[:3]])).all())
    assert any("2 different things" in text for text in warnings.texts)


@pytest.mark.parametrize(
    ("view", "at", "words"),
    [
        ("002", (40.0, 2.0), "shows nothing solid"),  # above the horizon
        ("002", (80.0, 10.0), "lies outside the photograph, which is 80x60"),
        ("002", (-1.0, 10.0), "lies outside the photograph"),
        ("005", (40.0, 30.0), "not trained on images/005.png, a test photograph"),
        ("777", (40.0, 30.0), "has no photograph 777"),
    ],
)
def test_clicks_that_show_no_thing(one, view, at, words):
    with pytest.raises(InputError, match=words):
        Selector(one.stack, one.capture).select(Points({view: [at]}))


def test_a_click_on_the_floor_is_told_so(one):
    at = pixel(one, "002", (0.5, -0.55, 0.0))
    with pytest.raises(InputError, match="large flat surface"):
        Selector(one.stack, one.capture).select(Points({"002": [at]}))


def test_points_need_a_scene(one):
    with pytest.raises(InputError, match="trained scene"):
        Points({"002": [(40, 30)]}).build(one.capture)


def hull(scene, shift):
    """The visual hull of the red ball's outlines in three photographs, one of them moved by some pixels."""
    views = []
    for name, by in (("000", 0), ("004", shift), ("008", 0)):
        camera = scene.capture.view(name).camera
        views.append((camera, torch.roll(outline(camera, RED), by, 1)))
    return VisualHull(views)


def surface(ball, count=4000):
    """Points of a ball's surface, above what it touches the floor with."""
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    points = torch.tensor(ball[:3]) + ball[3] * torch.nn.functional.normalize(points, dim=-1)
    return points[points[:, 2] > 0.05]


def test_masks_that_cut_through_a_thing_are_completed(one):
    warnings = Warnings()
    cut = hull(one, shift=3)  # of an outline of about 19 pixels across
    assert float(cut.contains(surface(RED) * 0.999).float().mean()) < 0.9
    whole = Selector(one.stack, one.capture, warnings, forgiving=True).complete(cut)
    # within the voxels that depth at this size resolves, all of it is in the region
    assert float((whole.distance(surface(RED)) < 0.02).float().mean()) > 0.98
    assert not bool(whole.contains(torch.tensor([FAR_AWAY[:3]])).any())
    assert any("cut through a thing" in text for text in warnings.texts)


def test_masks_that_hold_a_thing_stay_as_they_are(one):
    wide = [(cone.camera, dilate(cone.mask, 2)) for cone in hull(one, shift=0).cones]
    exact = VisualHull(wide)
    assert Selector(one.stack, one.capture, forgiving=True).complete(exact) is exact
    cut = hull(one, shift=4)
    assert Selector(one.stack, one.capture).complete(cut) is cut
    camera = one.capture.view("000").camera  # a hull in the air, where something is to be put
    at = [(c, outline(c, (0.3, 0.3, 0.9, 0.2))) for c in (camera, one.capture.view("004").camera)]
    assert Selector(one.stack, one.capture, forgiving=True).complete(air := VisualHull(at)) is air


def drawn(folder, mask):
    write_image(folder / "mask.png", mask)
    return str(folder / "mask.png")


def test_one_mask_is_enough_where_depth_says_how_deep_it_goes(one, tmp_path):
    mask = Masks({"002": drawn(tmp_path, outline(one.capture.view("002").camera, RED))})
    closed = mask.build(one.capture, Selector(one.stack, one.capture))
    # points of the outline fall beside the mask's pixels, which are an eighth of the radius wide
    assert float(closed.contains(surface(RED) * 0.999).float().mean()) > 0.9
    assert not bool(closed.contains(torch.tensor([FAR_AWAY[:3]])).any())
    removed = mask.build(one.capture, Selector(one.stack, one.capture, forgiving=True))
    for view in one.capture.views:  # as close as by a click
        assert overlap(removed.project(view.camera), outline(view.camera, RED)) > 0.85, view.name


@pytest.mark.parametrize(
    ("squares", "words"),
    [([(0, 0)], "nothing solid"), ([(26, 38), (55, 38)], "very different distances")],  # sky; ball and floor
)
def test_one_mask_that_does_not_say_how_deep_it_goes(one, tmp_path, squares, words):
    mask = torch.zeros(60, 80, dtype=torch.bool)
    for row, column in squares:
        mask[row : row + 4, column : column + 4] = True
    with pytest.raises(InputError, match=words):
        Masks({"002": drawn(tmp_path, mask)}).build(one.capture, Selector(one.stack, one.capture))


def test_a_stroke_is_the_surface_under_it(one, tmp_path):
    camera = one.capture.view("002").camera
    x, y = pixel(one, "002", RED)
    stroke = torch.zeros(60, 80, dtype=torch.bool)
    stroke[int(y) - 1 : int(y) + 2, int(x) - 3 : int(x) + 4] = True
    region = Heal({"002": drawn(tmp_path, stroke)}).build(one.capture, Selector(one.stack, one.capture))
    middle = torch.tensor([RED[:3]])
    toward = torch.nn.functional.normalize(camera.center - middle, dim=-1)
    assert bool(region.contains(middle + RED[3] * toward))  # where the ball's surface faces the camera
    assert not bool(region.contains(torch.cat([middle, middle - RED[3] * toward])).any())
    grown = dilate(stroke, 3)  # by its own half width, and a voxel's
    assert bool((region.project(camera) <= grown).all()) and bool((stroke <= region.project(camera)).all())


@pytest.mark.parametrize(("size", "words"), [(0, "is empty"), (30, "no stroke|covers"), (2, "nothing solid")])
def test_strokes_that_cannot_be_healed(one, tmp_path, size, words):
    stroke = torch.zeros(60, 80, dtype=torch.bool)
    stroke[:size, :size] = True  # the sky, in a corner
    with pytest.raises(InputError, match=words):
        Heal({"002": drawn(tmp_path, stroke)}).build(one.capture, Selector(one.stack, one.capture))


def test_what_remains_beside_the_region_is_found(one):
    """A region that holds the ball but for a cap of it; and one that holds all of it, the other ball not."""
    selector = Selector(one.stack, one.capture)
    cut = BoxRegion((-0.09, 0.0, 0.27), (0.42, 0.6, 0.5))  # up to x = 0.12
    rest, share = selector.remains(cut, one.stack.with_layer(Layer.empty(cut)))
    points = surface(RED)
    cap = points[points[:, 0] > 0.14]
    assert float((rest.distance(cap) < 0.02).float().mean()) > 0.9
    # A cap of half the radius' height is a quarter of a sphere; the floor and the outline hide some of each.
    assert 0.1 < share < 0.4
    assert not bool(rest.contains(torch.tensor([FAR_AWAY[:3]])).any())
    whole = BoxRegion((0.0, 0.0, 0.27), (0.6, 0.6, 0.56))
    assert selector.remains(whole, one.stack.with_layer(Layer.empty(whole))) is None
