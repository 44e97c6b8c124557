"""Splat files: every kind and degree written and read again, by libraries and formulas that are not ours."""

import errno
import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerf_insert.errors import InputError, RunError
from nerf_insert.splats import files, ply, worker
from nerf_insert.splats.files import read_splats, says_antialiased, write_splats
from nerf_insert.splats.moving import turn
from nerf_insert.splats.splats import SH_C0, SH_COUNTS, Splats

DEGREES = [0, 1, 2, 3]
COUNT = 700  # more than two chunks of the compressed layout


@pytest.fixture
def in_process(monkeypatch):
    """Run gsply without a process of its own, which takes two seconds each."""

    def answer(module, request, folder, seconds):
        return worker.answer({**request, "memory": 1 << 30, "splats": 100_000})

    monkeypatch.setattr(files, "ask", answer)


def random_splats(degree: int = 3, count: int = COUNT, seed: int = 0) -> Splats:
    """Splats within what every format holds: SPZ ends at SH coefficients of 1, .splat at colors 0 and 1."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=rng)

    quaternions = torch.nn.functional.normalize(torch.randn(count, 4, generator=rng), dim=1)
    return Splats(
        uniform(-2, 2, count, 3),
        uniform(-6, -2, count, 3),
        quaternions,
        uniform(-4, 4, count),
        uniform(-0.9, 0.9, count, SH_COUNTS[degree], 3),
    )


def assert_close(found: Splats, expected: Splats, mean=0.0, scale=0.0, rotation=1e-6, opacity=0.0, sh=0.0):
    """Compare; `opacity` in 0..1, `rotation` as 1 - |cosine| of half the angle."""
    assert found.count == expected.count and found.degree == expected.degree
    torch.testing.assert_close(found.means, expected.means, atol=mean, rtol=0)
    torch.testing.assert_close(found.log_scales, expected.log_scales, atol=scale, rtol=1e-6)
    torch.testing.assert_close(found.opacities, expected.opacities, atol=opacity, rtol=1e-6)
    torch.testing.assert_close(found.sh, expected.sh, atol=sh, rtol=1e-6)
    units = (torch.nn.functional.normalize(s.quaternions, dim=1) for s in (found, expected))
    assert ((1 - (next(units) * next(units)).sum(1).abs()) <= rotation).all()


def in_order_of(found: Splats, expected: Splats) -> Splats:
    """Return what was read in the order of what was written: nearest centers, for formats that sort."""
    index = torch.cdist(expected.means, found.means).argmin(1)
    assert len(index.unique()) == expected.count
    return found[index]


def of_gsply(data) -> Splats:
    sh = np.concatenate([data.sh0[:, None], data.shN], 1) if data.shN is not None else data.sh0[:, None]
    parts = (data.means, data.scales, data.quats, data.opacities, sh)
    return Splats(*(torch.from_numpy(np.array(part, np.float32)) for part in parts))


@pytest.mark.parametrize("degree", DEGREES)
def test_ply_is_exact_and_gsply_reads_the_same(tmp_path, degree):
    gsply = pytest.importorskip("gsply")
    splats, file = random_splats(degree), tmp_path / "a.ply"
    write_splats(file, splats)
    found, warnings = read_splats(file)
    assert warnings == [] and all(map(torch.equal, found.tensors(), splats.tensors()))
    assert_close(of_gsply(gsply.plyread(file)), splats)
    assert file.read_bytes().count(b"property") == 17 + 3 * (SH_COUNTS[degree] - 1)


@pytest.mark.parametrize("degree", DEGREES)
def test_ply_of_gsply_is_read(tmp_path, degree):
    gsply = pytest.importorskip("gsply")
    splats, file = random_splats(degree), tmp_path / "a.ply"
    means, scales, quats, logits, sh = (tensor.numpy() for tensor in splats.tensors())
    gsply.plywrite(file, means, scales, quats, logits, sh[:, 0], sh[:, 1:] if degree else None)
    assert_close(read_splats(file)[0], splats)


@pytest.mark.parametrize("degree", DEGREES)
def test_compressed_ply(tmp_path, in_process, degree):
    """Steps: 1/1023 of a chunk's range (4 for means and log scales), 1/255 of colors, 1/32 of SH."""
    gsply = pytest.importorskip("gsply")
    splats, file = random_splats(degree), tmp_path / "a.compressed.ply"
    write_splats(file, splats)
    step = {"mean": 3e-3, "scale": 3e-3, "rotation": 1e-5, "opacity": 3e-3, "sh": 0.5 / 32 + 1e-3}
    assert_close(in_order_of(read_splats(file)[0], splats), splats, **step)
    assert_close(in_order_of(of_gsply(gsply.plyread(file)), splats), splats, **step)


@pytest.mark.parametrize(("degree", "version"), [(0, 3), (1, 4), (2, 3), (3, 4)])
def test_spz(tmp_path, in_process, degree, version):
    """Steps: 2^-12 of positions, 1/16 of log scales, 1/255 of opacity, 1/38 of colors, 1/128 of SH."""
    splats, file = random_splats(degree), tmp_path / "a.spz"
    write_splats(file, splats, spz_version=version)
    raw = file.read_bytes()
    head = raw if version == 4 else gzip.decompress(raw)
    magic, written, count, sh_degree = struct.unpack_from("<4sIIB", head)
    assert (magic, written, count, sh_degree) == (b"NGSP", version, COUNT, degree)
    found = read_splats(file)[0]
    assert_close(found, splats, mean=1.3e-4, scale=0.0313, rotation=1e-5, opacity=2e-3, sh=0.0132)


def test_spz_is_turned_y_up(tmp_path, in_process):
    """As files are that point down along +y: half a turn about x takes (x, y, z) to (x, -y, -z)."""
    splats = random_splats(1)
    write_splats(tmp_path / "a.spz", splats, up=(0.0, -1.0, 0.0))
    found = read_splats(tmp_path / "a.spz")[0]
    x_y_z = torch.tensor([1.0, -1.0, -1.0])
    # a turn of a half about x: (w, x, y, z) to (-x, w, -z, y); the first harmonics are those of y, z, x
    w, x, y, z = splats.quaternions.unbind(1)
    sh = splats.sh * torch.tensor([1.0, -1, -1, 1])[:, None]
    turned = Splats(
        splats.means * x_y_z, splats.log_scales, torch.stack([-x, w, -z, y], 1), splats.opacity_logits, sh
    )
    assert_close(found, turned, mean=1.3e-4, scale=0.0313, rotation=1e-5, opacity=2e-3, sh=0.0132)


def test_spz_of_version_2_by_the_published_layout(tmp_path, in_process):
    """Three bytes of quaternion, 24-bit positions with 12 binary places: written out here by hand."""
    header = struct.pack("<4sIIBBBB", b"NGSP", 2, 1, 0, 12, 0, 0)
    position = b"".join(int(v * 4096).to_bytes(3, "little", signed=True) for v in (1.5, -2.25, 0.125))
    body = position + bytes([128]) + bytes([255, 0, 128]) + bytes([96, 80, 64]) + bytes([255, 128, 128])
    file = tmp_path / "a.spz"
    file.write_bytes(gzip.compress(header + body))
    found = read_splats(file)[0]
    assert found.means.tolist() == [[1.5, -2.25, 0.125]]
    assert found.log_scales.tolist() == [[-4, -5, -6]]
    torch.testing.assert_close(found.opacities, torch.tensor([128 / 255]))
    torch.testing.assert_close(found.sh[0, 0], torch.tensor([1.0, -1.0, 1 / 255]) / 0.3, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.quaternions[0], torch.tensor([0, 1.0, 0, 0]), atol=0.5 / 127, rtol=0)


@pytest.mark.parametrize("version", [3, 4])
def test_spz_says_whether_its_splats_are_antialiased(tmp_path, in_process, version):
    splats = random_splats(1)
    for antialiased in (False, True):
        file = tmp_path / f"{antialiased}.spz"
        write_splats(file, splats, spz_version=version, antialiased=antialiased)
        raw = file.read_bytes()
        head = raw if version == 4 else gzip.decompress(raw)
        assert head[14] == antialiased and says_antialiased(file) == antialiased
        found = read_splats(file)[0]
        assert_close(found, splats, mean=1.3e-4, scale=0.0313, rotation=1e-5, opacity=2e-3, sh=0.0132)
    write_splats(tmp_path / "a.ply", splats)
    assert not says_antialiased(tmp_path / "a.ply")


def test_far_splats_get_fewer_binary_places_in_spz(tmp_path, in_process):
    splats = random_splats(0, 50)
    far = Splats(splats.means * 2000, *splats.tensors()[1:])  # 4000 units: 24 bits with 12 places end at 2048
    write_splats(tmp_path / "a.spz", far)
    assert float((read_splats(tmp_path / "a.spz")[0].means - far.means).abs().max()) <= 2.0**-11


def image(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("degree", DEGREES)
def test_sog(tmp_path, in_process, degree):
    """Steps: 2^-16 of the logarithms' range; the codebooks' widest gaps. Each splat has a palette entry."""
    splats, file = random_splats(degree), tmp_path / "a.sog"
    write_splats(file, splats)
    found = in_order_of(read_splats(file)[0], splats)
    assert_close(found, splats, mean=1e-4, scale=0.04, rotation=1e-4, opacity=2e-3, sh=0.04)
    with zipfile.ZipFile(file) as bundle:
        meta = json.loads(bundle.read("meta.json"))
        assert (meta["version"], meta["count"], meta.get("shN", {}).get("bands", 0)) == (2, COUNT, degree)
        low, high = (image(bundle.read(f"means_{k}.webp")) for k in "lu")
    steps = (low.astype(int) + 256 * high.astype(int)).reshape(-1, 4)[:COUNT, :3]  # by the published formula
    bounds = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    logs = bounds[0] + steps / 65535 * (bounds[1] - bounds[0])
    means = np.sign(logs) * np.expm1(np.abs(logs))
    assert np.abs(np.sort(means, 0) - np.sort(splats.means.numpy(), 0)).max() < 1e-4


def test_large_palettes_are_shared():
    """More rows than entries: k-means finds the 3 clusters that there are."""
    from nerf_insert.splats import sog

    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(3)[torch.randint(3, (3 * sog.PALETTE,), generator=generator)]
    centers, labels = sog.palette(rows)
    assert len(centers) == sog.PALETTE and torch.equal(centers[labels], rows)


def test_splat_rows_by_the_published_layout(tmp_path):
    splats, file = random_splats(0), tmp_path / "a.splat"
    write_splats(file, splats)
    rows = file.read_bytes()
    assert len(rows) == 32 * COUNT
    numbers = struct.unpack_from("<6f8B", rows, 32 * 5)
    rgb = (0.5 + SH_C0 * splats.sh[5, 0]) * 255
    expected = [*splats.means[5].tolist(), *splats.scales[5].tolist(), *rgb.tolist()]
    expected += [float(splats.opacities[5]) * 255, *(128 + 128 * splats.quaternions[5]).tolist()]
    np.testing.assert_allclose(numbers[:6], expected[:6], rtol=1e-6)
    np.testing.assert_allclose(numbers[6:], expected[6:], atol=0.501)
    step = {"mean": 0, "scale": 1e-6, "rotation": 1e-4, "opacity": 2e-3, "sh": 0.5 / 255 / SH_C0 + 1e-6}
    assert_close(read_splats(file)[0], splats, **step)


@pytest.mark.parametrize("degree", DEGREES)
def test_glb_has_the_accessors_of_the_extension(tmp_path, degree):
    splats, file = random_splats(degree), tmp_path / "a.glb"
    write_splats(file, splats, up=(0, 0, 1))
    data = file.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    tree, body = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    primitive = tree["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0 and primitive["extensions"]["KHR_gaussian_splatting"]["kernel"] == "ellipse"

    def column(name: str) -> torch.Tensor:
        accessor = tree["accessors"][primitive["attributes"][name]]
        view = tree["bufferViews"][accessor["bufferView"]]
        values = np.frombuffer(body, "<f4", view["byteLength"] // 4, view["byteOffset"])
        return torch.tensor(values).view(accessor["count"], -1)

    assert torch.equal(column("POSITION"), splats.means)
    assert torch.equal(column("KHR_gaussian_splatting:SCALE"), splats.scales)
    assert torch.equal(column("KHR_gaussian_splatting:OPACITY")[:, 0], splats.opacities)
    torch.testing.assert_close(column("KHR_gaussian_splatting:ROTATION").roll(1, 1), splats.quaternions)
    names = [
        f"KHR_gaussian_splatting:SH_DEGREE_{d}_COEF_{k}" for d in range(degree + 1) for k in range(2 * d + 1)
    ]
    assert torch.equal(torch.stack([column(name) for name in names], 1), splats.sh)
    x, y, z, w = tree["nodes"][0]["rotation"]  # of (0, 0, 1) to (0, 1, 0): a quarter turn about -x
    np.testing.assert_allclose([x, y, z, w], [-(0.5**0.5), 0, 0, 0.5**0.5], atol=1e-12)


def test_turn_to_the_opposite():
    assert turn((0, -1, 0), (0, 1, 0))[3] == 0


@pytest.mark.parametrize("degree", [0, 3])
def test_usd_is_read_by_its_library(tmp_path, degree):
    pytest.importorskip("pxr")
    from pxr import Usd, UsdVol

    splats, file = random_splats(degree), tmp_path / "a.usdc"
    write_splats(file, splats)
    stage = Usd.Stage.Open(str(file))
    prim = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    np.testing.assert_array_equal(prim.GetPositionsAttr().Get(), splats.means)
    np.testing.assert_array_equal(prim.GetScalesAttr().Get(), splats.scales)
    np.testing.assert_array_equal(prim.GetOpacitiesAttr().Get(), splats.opacities)
    quaternion = prim.GetOrientationsAttr().Get()[3]
    np.testing.assert_allclose(
        [quaternion.GetReal(), *quaternion.GetImaginary()], splats.quaternions[3], atol=1e-6
    )
    assert prim.GetRadianceSphericalHarmonicsDegreeAttr().Get() == degree
    coefficients = np.array(prim.GetRadianceSphericalHarmonicsCoefficientsAttr().Get())
    np.testing.assert_array_equal(coefficients.reshape(splats.sh.shape), splats.sh)


# --- files as they come


def test_columns_in_another_order_and_others_besides(tmp_path):
    splats = random_splats(1, 20)
    names = list(ply.inria_dtype(1).names)[::-1]
    dtype = np.dtype([("label", "u1"), *[(name, ">f8" if name == "x" else ">f4") for name in names]])
    ply.write_rows(tmp_path / "a.ply", dtype, [ply.rows_of_splats(splats, dtype)])
    found = read_splats(tmp_path / "a.ply")[0]
    assert all(map(torch.equal, found.tensors(), splats.tensors()))


def test_rows_are_written_again_byte_for_byte(tmp_path):
    write_splats(tmp_path / "a.ply", random_splats(2))
    layout = ply.read_layout(tmp_path / "a.ply")
    ply.write_rows(tmp_path / "b.ply", layout.dtype, [layout.rows(tmp_path / "a.ply")])
    assert (tmp_path / "b.ply").read_bytes() == (tmp_path / "a.ply").read_bytes()


def test_numbers_that_make_no_sense_are_hidden_and_told(tmp_path):
    splats = random_splats(0, 10)
    splats.means[3, 1], splats.log_scales[4, 0], splats.quaternions[5] = float("nan"), float("inf"), 0
    write_splats(tmp_path / "a.ply", splats)
    found, warnings = read_splats(tmp_path / "a.ply")
    assert found.count == 10 and (found.opacities < 1e-6).nonzero()[:, 0].tolist() == [3, 4, 5]
    assert "3 of the 10 splats" in warnings[0]
    splats.means[:] = float("nan")
    write_splats(tmp_path / "b.ply", splats)
    with pytest.raises(InputError, match="10 of 10 hold numbers that make no sense"):
        read_splats(tmp_path / "b.ply")


def test_infinite_opacities_and_flat_splats_are_valid(tmp_path):
    """As SuperSplat writes what is wholly opaque, wholly transparent, or has no extent along an axis."""
    splats = random_splats(0, 4)
    splats.opacity_logits[0], splats.opacity_logits[1] = float("inf"), float("-inf")
    splats.log_scales[2, 1] = splats.log_scales[3, 0] = float("-inf")
    write_splats(tmp_path / "a.ply", splats)
    found, warnings = read_splats(tmp_path / "a.ply")
    assert warnings == [] and all(tensor.isfinite().all() for tensor in found.tensors())
    opacities = torch.where(splats.opacity_logits > 0, 1.0, 0.0)[:2]
    torch.testing.assert_close(found.opacities[:2], opacities, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.scales, splats.scales, atol=1e-9, rtol=1e-6)
    assert torch.equal(found.means, splats.means) and torch.equal(found.sh, splats.sh)


def header(count: int, *columns: str, kind: str = "binary_little_endian") -> bytes:
    lines = ["ply", f"format {kind} 1.0", f"element vertex {count}", *(f"property {c}" for c in columns)]
    return ("\n".join([*lines, "end_header"]) + "\n").encode()


FULL = [f"float {name}" for name in ply.inria_dtype(0).names]
HOSTILE = {
    "empty.ply": (b"", "empty, damaged or no splat file"),
    "text.ply": (header(1, *FULL, kind="ascii"), "save them as a binary PLY"),
    "endless.ply": (b"ply\n" + b"comment x\n" * 10_000, "no PLY header"),
    "huge.ply": (header(10**18, *FULL), "cut off: 1000000000000000000 of them are announced and 0"),
    "negative.ply": (header(-5, *FULL), "a count is negative"),
    "none.ply": (header(0, *FULL), "holds no splats"),
    "list.ply": (header(1, "list uchar int x"), "cannot be read at 'property list"),
    "twice.ply": (header(1, "float x", "float x"), "damaged PLY header"),
    "cloud.ply": (
        header(1, "float x", "float y", "float z") + bytes(12),
        "no f_dc_0 .it seems to be a point",
    ),
    "degree.ply": (
        header(1, *FULL, "float f_rest_0") + bytes(80),
        "1 SH coefficients above the constant one",
    ),
    "names.ply": (
        header(1, *FULL, *(f"float f_rest_{c}" for c in "abcdefghi")) + bytes(104),
        "9 SH coefficients .* named f_rest_0 and so on",
    ),
    "chunks.ply": (header(600, "uint packed_position") + bytes(2400), "600 of them need more than 0 chunks"),
    "short.splat": (bytes(33), "33 bytes are no multiple of 32"),
    "other.splat": (b"", "no multiple|empty"),
    "bare.spz": (gzip.compress(b"hello"), "no SPZ file"),
    "many.spz": (
        gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 2, 4_000_000_000, 3, 12, 0, 0)),
        "4,000,000,000",
    ),
    "cut.spz": (gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 2, 50, 3, 12, 0, 0)), "are damaged"),
    "torn.spz": (
        gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 2, 50, 3, 12, 0, 0) + bytes(999))[:-9],
        "damaged|cannot",
    ),
    "cut.sog": (b"PK\x03\x04 and no more", "are damaged"),
    "image.jpg": (b"\xff\xd8\xff\xe0", "these kinds can be read: .ply"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files_are_refused_in_a_sentence(tmp_path, in_process, name):
    data, message = HOSTILE[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as refused:
        read_splats(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value) and "\n" not in str(refused.value)


def test_sog_with_images_that_are_too_small(tmp_path, in_process):
    write_splats(tmp_path / "a.sog", random_splats(0))
    with zipfile.ZipFile(tmp_path / "a.sog") as old, zipfile.ZipFile(tmp_path / "b.sog", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "meta.json":
                data = json.dumps({**json.loads(data), "count": 50_000}).encode()
            new.writestr(name, data)
    with pytest.raises(InputError, match="has fewer pixels than there are splats"):
        read_splats(tmp_path / "b.sog")


def test_sog_with_a_palette_that_is_too_small(tmp_path, in_process):
    write_splats(tmp_path / "a.sog", random_splats(2))
    with zipfile.ZipFile(tmp_path / "a.sog") as old, zipfile.ZipFile(tmp_path / "b.sog", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "shN_centroids.webp":
                whole = Image.open(io.BytesIO(data))
                buffer = io.BytesIO()
                whole.crop((0, 0, whole.width, whole.height - 1)).save(buffer, "webp", lossless=True)
                data = buffer.getvalue()
            new.writestr(name, data)
    with pytest.raises(InputError, match=r"damaged: shN_centroids.webp has fewer pixels than its palette"):
        read_splats(tmp_path / "b.sog")


def test_every_cut_of_a_file_is_refused(tmp_path):
    write_splats(tmp_path / "a.ply", random_splats(0, 20))
    data = (tmp_path / "a.ply").read_bytes()
    for length in range(0, len(data), 37):
        (tmp_path / "cut.ply").write_bytes(data[:length])
        with pytest.raises(InputError):
            read_splats(tmp_path / "cut.ply")


def test_a_process_of_its_own_reads_and_is_limited(tmp_path, monkeypatch):
    """The real thing, once: a file that unpacks to more than the limit of memory ends in a sentence."""
    pytest.importorskip("gsply")
    write_splats(tmp_path / "a.spz", random_splats(1))
    assert read_splats(tmp_path / "a.spz")[0].count == COUNT
    head = struct.pack("<4sIIBBBB", b"NGSP", 2, 1000, 0, 12, 0, 0)
    (tmp_path / "bomb.spz").write_bytes(gzip.compress(head) + 100 * gzip.compress(bytes(1 << 24), 1))
    monkeypatch.setattr(files, "MAX_MEMORY", 1 << 30)
    with pytest.raises(InputError, match=r"memory|damaged"):
        read_splats(tmp_path / "bomb.spz")


@pytest.mark.parametrize("name", ["a.ply", "a.usdc", "a.usda"])
def test_a_failure_to_write_is_told_as_the_system_says(tmp_path, name):
    resource = pytest.importorskip("resource")
    if name != "a.ply":
        pytest.importorskip("pxr.UsdVol")  # its library is loaded before the limit
    splats, file = random_splats(3), tmp_path / name
    file.write_bytes(b"as it was")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # bytes
    try:
        with pytest.raises(RunError) as failed:
            write_splats(file, splats)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(failed.value).startswith(f"cannot write {file}: File too large; nothing that was there has")
    assert file.read_bytes() == b"as it was" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.spz", "a.compressed.ply"])
def test_a_full_disk_is_told_by_the_process_that_writes(tmp_path, in_process, monkeypatch, name):
    pytest.importorskip("gsply")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=f"^cannot write {tmp_path / name}: No space left on the disk"):
        write_splats(tmp_path / name, random_splats(1))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"splats are written as \.compressed\.ply, \.ply"):
        write_splats(tmp_path / "a.obj", random_splats())
    with pytest.raises(InputError, match="there are no splats to write"):
        write_splats(tmp_path / "a.ply", random_splats()[torch.zeros(COUNT, dtype=torch.bool)])
