"""Models that are known by a name: where the Hugging Face hub has them, their size and licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """`size` is what is downloaded, about, in gigabytes (10^9 bytes)."""

    name: str
    repository: str
    kind: str  # model, controlnet, ip-adapter or metric
    family: str  # that it is of, or belongs to; "" for metrics
    licence: str
    size: float
    note: str
    gated: bool = False  # the hub wants its terms accepted first
    files: tuple[str, ...] = ()  # patterns of what is needed; (): found out from the model's index
    path: str = ""  # of the weights inside the repository, where these are not all of it


MODELS = (
    Known(
        "flux2-klein",
        "black-forest-labs/FLUX.2-klein-4B",
        "model",
        "flux2-klein",
        "Apache-2.0",
        16,
        "text and reference pictures, four steps; the default where a GPU holds it",
    ),
    Known(
        "sdxl-inpaint",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "model",
        "sdxl",
        "CreativeML OpenRAIL++-M",
        7,
        "text; depth and reference with depth-sdxl and reference-sdxl",
    ),
    Known(
        "sd15-inpaint",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "model",
        "sd15",
        "CreativeML OpenRAIL-M",
        2.8,
        "text, for small GPUs; depth and reference with depth-sd15 and reference-sd15",
    ),
    Known(
        "z-image-turbo",
        "Tongyi-MAI/Z-Image-Turbo",
        "model",
        "z-image",
        "Apache-2.0",
        21,
        "text, few steps",
    ),
    Known("qwen-image", "Qwen/Qwen-Image", "model", "qwen-image", "Apache-2.0", 58, "text, lettering too"),
    Known(
        "flux-fill",
        "black-forest-labs/FLUX.1-Fill-dev",
        "model",
        "flux-fill",
        "FLUX.1 [dev] Non-Commercial",
        34,
        "text",
        gated=True,
    ),
    Known(
        "flux2-klein-9b",
        "black-forest-labs/FLUX.2-klein-9B",
        "model",
        "flux2-klein",
        "FLUX Non-Commercial",
        35,
        "as flux2-klein, larger",
        gated=True,
    ),
    Known(
        "paint-by-example",
        "Fantasy-Studio/Paint-by-Example",
        "model",
        "paint-by-example",
        "CreativeML OpenRAIL-M",
        5.5,
        "a reference picture and no text, as in the NeRF-Insert paper",
    ),
    Known(
        "depth-sd15",
        "lllyasviel/control_v11f1p_sd15_depth",
        "controlnet",
        "sd15",
        "CreativeML OpenRAIL-M",
        0.8,
        "depth for sd15-inpaint",
    ),
    Known(
        "depth-sdxl",
        "diffusers/controlnet-depth-sdxl-1.0",
        "controlnet",
        "sdxl",
        "CreativeML OpenRAIL++-M",
        2.5,
        "depth for sdxl-inpaint",
    ),
    Known(
        "reference-sd15",
        "h94/IP-Adapter",
        "ip-adapter",
        "sd15",
        "Apache-2.0",
        2.6,
        "reference pictures for sd15-inpaint",
        files=("models/ip-adapter_sd15.safetensors", "models/image_encoder/*"),
        path="models/ip-adapter_sd15.safetensors",
    ),
    Known(
        "reference-sdxl",
        "h94/IP-Adapter",
        "ip-adapter",
        "sdxl",
        "Apache-2.0",
        3.3,
        "reference pictures for sdxl-inpaint",
        files=("sdxl_models/ip-adapter_sdxl_vit-h.safetensors", "models/image_encoder/*"),
        path="sdxl_models/ip-adapter_sdxl_vit-h.safetensors",
    ),
    Known(
        "clip",
        "openai/clip-vit-large-patch14",
        "metric",
        "",
        "MIT",
        1.7,
        "the CLIP figures of `nerf-insert eval`",
        files=("*.json", "*.txt", "model.safetensors"),
    ),
)


def known(name: str) -> Known | None:
    """The entry of a name or of a repository; None if there is none."""
    return next((entry for entry in MODELS if name in (entry.name, entry.repository)), None)


def names(kind: str, family: str | None = None) -> list[str]:
    return [e.name for e in MODELS if e.kind == kind and family in (None, e.family)]
