"""The models that have a short name: their repository on the Hugging Face hub, size and license."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogEntry:
    """A model with a short name.

    Attributes:
        name: The short name.
        repository: OWNER/NAME on the hub.
        kind: model, controlnet, ip-adapter or metric.
        family: The family that it is, or works with; "" for metrics.
        license: The name of its license.
        size_gb: About how much is downloaded, in gigabytes (10^9 bytes).
        note: What it is for.
        gated: Whether the hub asks for its terms to be accepted first.
        files: Glob patterns of the files to download; (): derived from the repository's list of files.
        path: The weights inside the repository, where they are only a part of it.
    """

    name: str
    repository: str
    kind: str
    family: str
    license: str
    size_gb: float
    note: str
    gated: bool = False
    files: tuple[str, ...] = ()
    path: str = ""


MODELS = (
    CatalogEntry(
        "flux2-klein",
        "black-forest-labs/FLUX.2-klein-4B",
        "model",
        "flux2-klein",
        "Apache-2.0",
        16,
        "text and reference images, four steps; the default if it fits on the GPU",
    ),
    CatalogEntry(
        "sdxl-inpaint",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "model",
        "sdxl",
        "CreativeML OpenRAIL++-M",
        7,
        "text; depth with depth-sdxl, reference images with reference-sdxl",
    ),
    CatalogEntry(
        "sd15-inpaint",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "model",
        "sd15",
        "CreativeML OpenRAIL-M",
        2.8,
        "text, for small GPUs; depth with depth-sd15, reference images with reference-sd15",
    ),
    CatalogEntry(
        "z-image-turbo",
        "Tongyi-MAI/Z-Image-Turbo",
        "model",
        "z-image",
        "Apache-2.0",
        21,
        "text, few steps",
    ),
    CatalogEntry(
        "qwen-image",
        "Qwen/Qwen-Image",
        "model",
        "qwen-image",
        "Apache-2.0",
        58,
        "text, also for images with lettering",
    ),
    CatalogEntry(
        "flux-fill",
        "black-forest-labs/FLUX.1-Fill-dev",
        "model",
        "flux-fill",
        "FLUX.1 [dev] Non-Commercial",
        34,
        "text",
        gated=True,
    ),
    CatalogEntry(
        "flux2-klein-9b",
        "black-forest-labs/FLUX.2-klein-9B",
        "model",
        "flux2-klein",
        "FLUX Non-Commercial",
        35,
        "like flux2-klein, larger",
        gated=True,
    ),
    CatalogEntry(
        "paint-by-example",
        "Fantasy-Studio/Paint-by-Example",
        "model",
        "paint-by-example",
        "CreativeML OpenRAIL-M",
        5.5,
        "a reference image instead of text, as in the NeRF-Insert paper",
    ),
    CatalogEntry(
        "depth-sd15",
        "lllyasviel/control_v11f1p_sd15_depth",
        "controlnet",
        "sd15",
        "CreativeML OpenRAIL-M",
        0.8,
        "depth ControlNet for sd15-inpaint",
    ),
    CatalogEntry(
        "depth-sdxl",
        "diffusers/controlnet-depth-sdxl-1.0",
        "controlnet",
        "sdxl",
        "CreativeML OpenRAIL++-M",
        2.5,
        "depth ControlNet for sdxl-inpaint",
    ),
    CatalogEntry(
        "reference-sd15",
        "h94/IP-Adapter",
        "ip-adapter",
        "sd15",
        "Apache-2.0",
        2.6,
        "reference images for sd15-inpaint",
        files=("models/ip-adapter_sd15.safetensors", "models/image_encoder/*"),
        path="models/ip-adapter_sd15.safetensors",
    ),
    CatalogEntry(
        "reference-sdxl",
        "h94/IP-Adapter",
        "ip-adapter",
        "sdxl",
        "Apache-2.0",
        3.3,
        "reference images for sdxl-inpaint",
        files=("sdxl_models/ip-adapter_sdxl_vit-h.safetensors", "models/image_encoder/*"),
        path="sdxl_models/ip-adapter_sdxl_vit-h.safetensors",
    ),
    CatalogEntry(
        "clip",
        "openai/clip-vit-large-patch14",
        "metric",
        "",
        "MIT",
        1.7,
        "the CLIP metrics of `nerf-insert eval`",
        files=("*.json", "*.txt", "model.safetensors"),
    ),
)


def find_entry(name: str) -> CatalogEntry | None:
    """Return the entry with this name or repository, None if there is none."""
    return next((entry for entry in MODELS if name in (entry.name, entry.repository)), None)


def entry_names(kind: str, family: str | None = None) -> list[str]:
    """List the names of a kind, of one family or of all."""
    return [entry.name for entry in MODELS if entry.kind == kind and family in (None, entry.family)]
