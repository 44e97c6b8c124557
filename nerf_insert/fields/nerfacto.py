"""A base that is a trained nerfacto of nerfstudio: its networks and its samplers, frozen.

M points, N rays, S samples a ray. Everything public takes and returns world coordinates. *Model* coordinates
are those in which nerfstudio trained it: the capture's world coordinates rotated, moved and scaled by its
dataparser.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.fields.nerfstudio_hash_encoding import use_kernels
from nerf_insert.geometry.cameras import Rays
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.kernels import GridSpec, Samples

if TYPE_CHECKING:
    from nerfstudio.field_components.spatial_distortions import SceneContraction
    from nerfstudio.fields.nerfacto_field import NerfactoField
    from nerfstudio.model_components.ray_samplers import ProposalNetworkSampler
else:  # nerfstudio is imported when it is needed; tests look names in annotations up at run time
    NerfactoField = ProposalNetworkSampler = SceneContraction = nn.Module

KIND = "nerfacto"
BACKGROUNDS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "random": (0.0, 0.0, 0.0)}
GEOMETRY_FEATURES, HARMONICS = 15, 16  # of the head's input, as in nerfstudio's field
POINTS_AT_ONCE = 1 << 18
LARGEST = {
    "hidden_dim": 1024,
    "hidden_dim_color": 1024,
    "num_levels": 64,
    "base_res": 1 << 16,
    "max_res": 1 << 20,
    "log2_hashmap_size": 26,
    "features_per_level": 16,
    "num_nerf_samples_per_ray": 4096,
    "num_proposal_iterations": 8,
    "num_layers": 16,
    "appearance_embed_dim": 4096,
}
PROPOSAL_ARGS = (
    *("hidden_dim", "log2_hashmap_size", "num_levels", "max_res", "base_res", "features_per_level"),
    *("num_layers", "use_linear"),
)


@dataclass(frozen=True)
class NerfactoSpec:
    """The shape of a nerfacto and how it samples; names and defaults are nerfstudio's."""

    far_plane: float = 1000.0
    background_color: str = "last_sample"
    hidden_dim: int = 64
    hidden_dim_color: int = 64
    num_levels: int = 16
    base_res: int = 16
    max_res: int = 2048
    log2_hashmap_size: int = 19
    features_per_level: int = 2
    num_proposal_samples_per_ray: tuple[int, ...] = (256, 96)
    num_nerf_samples_per_ray: int = 48
    num_proposal_iterations: int = 2
    use_same_proposal_network: bool = False
    proposal_net_args_list: tuple[dict[str, Any], ...] = ()
    proposal_initial_sampler: str = "piecewise"
    disable_scene_contraction: bool = False
    appearance_embed_dim: int = 32
    average_init_density: float = 1.0

    def __post_init__(self) -> None:
        """Check the values, sizes included: the file may be hostile.

        Raises:
            ValueError: No nerfacto has such values.
        """
        for shape in (asdict(self), *self.proposal_net_args_list):
            for name, value in shape.items():
                if name in LARGEST and not (type(value) is int and 0 <= value <= LARGEST[name]):
                    raise ValueError(f"{name} is {value!r}")
        unknown = {name for args in self.proposal_net_args_list for name in args} - {*PROPOSAL_ARGS}
        if unknown:
            raise ValueError(f"proposal_net_args_list has {sorted(unknown)}")
        if self.background_color not in (*BACKGROUNDS, "last_sample"):
            raise ValueError(f"background_color {self.background_color!r}")
        if self.proposal_initial_sampler not in ("piecewise", "uniform"):
            raise ValueError(f"proposal_initial_sampler {self.proposal_initial_sampler!r}")
        if not self.proposal_net_args_list:
            raise ValueError("no proposal_net_args_list")
        counts = [self.num_nerf_samples_per_ray, *self.num_proposal_samples_per_ray]
        if (
            self.num_proposal_iterations > len(self.num_proposal_samples_per_ray)
            or min(counts) < 2
            or max(counts) > 4096
        ):
            raise ValueError(f"samples per ray {counts}")

    def to_text(self) -> str:
        """Return the values as JSON; `from_text` reads it back."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_text(text: str) -> NerfactoSpec:
        """Read what `to_text` wrote.

        Raises:
            ValueError: The text is no JSON, or has impossible values.
            TypeError: It has other fields.
        """
        data: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return NerfactoSpec(**values)

    def proposal_args(self) -> list[dict[str, Any]]:
        """Return the arguments of each proposal network."""
        count = 1 if self.use_same_proposal_network else self.num_proposal_iterations
        last = len(self.proposal_net_args_list) - 1
        return [self.proposal_net_args_list[min(index, last)] for index in range(count)]


class NerfactoBase(nn.Module):
    """A frozen nerfacto; a `rendering.protocols.RadianceField`.

    The weights have nerfacto's names, below `field` and `proposal_networks`; normals, cameras and losses are
    left out.
    """

    to_model: Float[Tensor, "3 4"]

    def __init__(
        self,
        spec: NerfactoSpec,
        to_model: Float[Tensor, "3 4"],
        aabb: Float[Tensor, "2 3"],
        weights: dict[str, Tensor],
    ):
        """Build the networks and load their weights.

        Args:
            spec: The shape of the networks, and how rays are sampled.
            to_model: World to model coordinates: a rotation times an even scale, and a translation.
            aabb: nerfstudio's scene box, model coordinates.
            weights: Tensors of `field.*` and `proposal_networks.*`.

        Raises:
            ValueError: The weights are not those of such a nerfacto.
        """
        super().__init__()
        self.spec = spec
        self.register_buffer("to_model", to_model.float())
        self.scale = float(torch.linalg.det(to_model[:, :3].double()) ** (1 / 3))
        self.background = (
            None
            if spec.background_color == "last_sample"
            else torch.tensor(BACKGROUNDS[spec.background_color])
        )
        self.field = _field(spec, aabb)
        self.proposal_networks = _proposal_networks(spec, aabb)
        _stand_in_for_tcnn(self, spec, weights)
        use_kernels(self)
        self._sampler = _sampler(spec)
        _load(self, weights)
        self.eval().requires_grad_(False)

    def sample(self, rays: Rays) -> Samples:
        """Place S samples on each ray, where the proposal networks expect density."""
        from nerfstudio.cameras.rays import RayBundle

        count, per_ray = rays.count, self.spec.num_nerf_samples_per_ray
        offsets = torch.arange(count + 1) * per_ray
        if not count:
            none = rays.origins[:, 0]
            return Samples(none, none, offsets[:0], offsets)
        ones = torch.ones(count, 1)
        turn = self.to_model[:, :3].T
        bundle = RayBundle(
            origins=rays.origins @ turn + self.to_model[:, 3],
            directions=rays.directions @ (turn / self.scale),
            pixel_area=ones,
            camera_indices=torch.zeros(count, 1, dtype=torch.long),
            nears=0 * ones,
            fars=self.spec.far_plane * ones,
        )
        networks = list(self.proposal_networks)
        networks += networks[-1:] * (self.spec.num_proposal_iterations - len(networks))
        found, _, _ = self._sampler(bundle, density_fns=[network.density_fn for network in networks])
        starts, ends = (
            (side / self.scale).reshape(-1) for side in (found.frustums.starts, found.frustums.ends)
        )
        return Samples(starts, ends, torch.arange(count).repeat_interleave(per_ray), offsets)

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit and the sRGB color in 0..1."""
        parts = [
            self._query(points[start : start + POINTS_AT_ONCE], directions[start : start + POINTS_AT_ONCE])
            for start in range(0, len(points), POINTS_AT_ONCE)
        ]
        if not parts:
            return points[:, 0], points
        density, rgb = zip(*parts, strict=True)
        return torch.cat(density), torch.cat(rgb)

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Return False for all points: the proposal networks choose anew for each ray."""
        return torch.zeros_like(points[:, 0], dtype=torch.bool)

    @torch.no_grad()
    def _query(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        from nerfstudio.cameras.rays import Frustums, RaySamples
        from nerfstudio.field_components.field_heads import FieldHeadNames

        zeros = torch.zeros(len(points), 1)
        turn = self.to_model[:, :3].T
        frustums = Frustums(
            origins=points @ turn + self.to_model[:, 3],
            directions=directions @ (turn / self.scale),
            starts=zeros,
            ends=zeros,
            pixel_area=zeros,
        )
        samples = RaySamples(frustums=frustums, camera_indices=zeros.long())
        density, features = self.field.get_density(samples)
        rgb = self.field.get_outputs(samples, density_embedding=features)[FieldHeadNames.RGB]
        return density[:, 0] * self.scale, rgb.nan_to_num()

    def content_bounds(self) -> None:
        """Return None: the proposal networks find what there is for each ray."""
        return None

    def density(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Return the density alone, per world unit."""
        return self.query(points, torch.tensor([0.0, 0.0, 1.0]).expand(len(points), 3))[0]

    def save(self, path: Path) -> None:
        """Write the weights, the spec and the transform to a safetensors file.

        Raises:
            RunError: The file cannot be written.
        """
        notes = {"kind": KIND, "spec": self.spec.to_text()}
        write_tensors(path, {**self.state_dict(), "aabb": cast(Tensor, self.field.aabb)}, metadata=notes)

    @staticmethod
    def of(tensors: dict[str, Tensor], metadata: dict[str, str]) -> NerfactoBase:
        """Build the base from the tensors and metadata that `save` wrote.

        Raises:
            KeyError, ValueError, TypeError, RuntimeError: They are something else.
        """
        weights = {name: tensor for name, tensor in tensors.items() if name not in ("to_model", "aabb")}
        spec = NerfactoSpec.from_text(metadata["spec"])
        return NerfactoBase(spec, tensors["to_model"], tensors["aabb"], weights)

    @staticmethod
    def load(path: Path) -> NerfactoBase:
        """Read a file that `save` wrote.

        Raises:
            InputError: The file is no such file.
        """
        tensors, metadata = read_tensors(path)
        try:
            return NerfactoBase.of(tensors, metadata)
        except (KeyError, ValueError, TypeError, RuntimeError) as cause:
            raise InputError(f"{path} does not hold a nerfacto: {cause}. Adopt it again.") from cause


def _field(spec: NerfactoSpec, aabb: Tensor) -> NerfactoField:
    """Make nerfstudio's field with a single appearance embedding."""
    from nerfstudio.fields.nerfacto_field import NerfactoField

    return NerfactoField(
        aabb,
        num_images=1,
        hidden_dim=spec.hidden_dim,
        num_levels=spec.num_levels,
        base_res=spec.base_res,
        max_res=spec.max_res,
        log2_hashmap_size=spec.log2_hashmap_size,
        features_per_level=spec.features_per_level,
        hidden_dim_color=spec.hidden_dim_color,
        appearance_embedding_dim=spec.appearance_embed_dim,
        use_average_appearance_embedding=True,
        spatial_distortion=_contraction(spec),
        average_init_density=spec.average_init_density,
        implementation="torch",
    )


def _proposal_networks(spec: NerfactoSpec, aabb: Tensor) -> nn.ModuleList:
    from nerfstudio.fields.density_fields import HashMLPDensityField

    return nn.ModuleList(
        HashMLPDensityField(
            aabb,
            spatial_distortion=_contraction(spec),
            **args,
            average_init_density=spec.average_init_density,
            implementation="torch",
        )
        for args in spec.proposal_args()
    )


def _contraction(spec: NerfactoSpec) -> SceneContraction | None:
    from nerfstudio.field_components.spatial_distortions import SceneContraction

    return None if spec.disable_scene_contraction else SceneContraction(order=float("inf"))


def _sampler(spec: NerfactoSpec) -> ProposalNetworkSampler:
    from nerfstudio.model_components.ray_samplers import ProposalNetworkSampler, UniformSampler

    sampler = ProposalNetworkSampler(
        num_nerf_samples_per_ray=spec.num_nerf_samples_per_ray,
        num_proposal_samples_per_ray=spec.num_proposal_samples_per_ray,
        num_proposal_network_iterations=spec.num_proposal_iterations,
        initial_sampler=UniformSampler() if spec.proposal_initial_sampler == "uniform" else None,
    )
    return sampler.eval()


def _stand_in_for_tcnn(base: NerfactoBase, spec: NerfactoSpec, weights: dict[str, Tensor]) -> None:
    """Put our versions of tiny-cuda-nn's modules where the weights come from those."""
    from nerf_insert.fields import tcnn_compat

    def size(name: str) -> int:
        return weights[name].numel()

    field = cast(Any, base.field)  # parts of it get other classes than nerfstudio declares
    if "field.mlp_base.model.params" in weights:
        field.mlp_base.model = tcnn_compat.GridNetwork(
            GridSpec(
                spec.num_levels, spec.features_per_level, spec.log2_hashmap_size, spec.base_res, spec.max_res
            ),
            width=spec.hidden_dim,
            outputs=1 + GEOMETRY_FEATURES,
            hidden=1,
            size=size("field.mlp_base.model.params"),
        )
    if (name := "field.mlp_head.tcnn_encoding.params") in weights:
        inputs = HARMONICS + GEOMETRY_FEATURES + spec.appearance_embed_dim
        field.mlp_head.tcnn_encoding = tcnn_compat.Network(
            inputs, spec.hidden_dim_color, 3, 2, size(name), True
        )
        del field.mlp_head.layers
    if "field.direction_encoding.tcnn_encoding.params" in weights:
        field.direction_encoding.tcnn_encoding = tcnn_compat.Harmonics()
    for index, (module, args) in enumerate(zip(base.proposal_networks, spec.proposal_args(), strict=True)):
        at = f"proposal_networks.{index}"
        network = cast(Any, module)
        encoding = network.encoding
        if f"{at}.encoding.tcnn_encoding.params" in weights:
            del encoding.hash_table
            grid = GridSpec(
                encoding.num_levels,
                encoding.features_per_level,
                encoding.log2_hashmap_size,
                encoding.min_res,
                args.get("max_res", 1024),
            )
            encoding.tcnn_encoding = tcnn_compat.Grid(grid)
        if (name := f"{at}.mlp_base.1.tcnn_encoding.params") in weights:
            mlp = network.mlp_base[1]
            inputs, width = encoding.get_out_dim(), mlp.layer_width
            mlp.tcnn_encoding = tcnn_compat.Network(inputs, width, 1, mlp.num_layers - 1, size(name))
            del mlp.layers


def _load(base: NerfactoBase, weights: dict[str, Tensor]) -> None:
    own = {name for name in base.state_dict() if name != "to_model"}
    for problem, names in (("lacks", own - set(weights)), ("has no place for", set(weights) - own)):
        if names:
            raise ValueError(f"a nerfacto of this shape {problem} {', '.join(sorted(names)[:5])}")
    base.load_state_dict({**weights, "to_model": base.to_model})


def spec_fields() -> list[str]:
    """Return the names of the spec's fields."""
    return [field.name for field in fields(NerfactoSpec)]
