"""What differs from one kind of model to the next: one small class for each, told apart by what
model_index.json says. To add a family, write another class and put it into FAMILIES.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from nerf_insert.errors import InputError
from nerf_insert.hub.weights import Model
from nerf_insert.inpaint.diffusion.request import Work

MEGAPIXEL = 1 << 20


class Family:
    """Defaults fit most latent models; `call` says what the pipeline is given."""

    name: ClassVar[str]
    title: ClassVar[str]
    saved_as: ClassVar[tuple[str, ...]]  # pipeline classes of models that can be loaded
    pipeline: ClassVar[str]  # the class that paints
    with_depth: ClassVar[str | None] = None  # the class that also takes depth pictures, through a ControlNet
    control: ClassVar[str] = "ControlNetModel"  # the class of that
    half: ClassVar[str] = "bfloat16"  # half precision that it was trained for
    multiple: ClassVar[int] = 16  # pixels that sides are multiples of
    side: ClassVar[int] = 1024  # pixels along a side of the pictures it was trained on
    steps: ClassVar[int] = 28
    guidance: ClassVar[float] = 4.0
    control_scale: ClassVar[float] = 0.7
    reads_text: ClassVar[bool] = True
    reads_negative: ClassVar[bool] = True
    takes_strength: ClassVar[bool] = True
    references: ClassVar[str] = "none"  # none, adapter (an IP-Adapter has to be loaded), optional or needed
    # bytes for each pixel painted while it works, at half precision: rough, on the safe side
    working: ClassVar[int] = 6000

    def __init__(self, model: Model):
        self.model = model

    # --- what a model says of itself

    def own_side(self) -> int:
        return self.side

    def own_steps(self) -> int:
        return self.steps

    def own_guidance(self) -> float:
        return self.guidance

    def without(self, safety: bool) -> dict[str, Any]:
        """Arguments of loading that leave out the safety checker where it is switched off."""
        return {}

    def build(self, pipeline: Any, parts: dict[str, Any], **how: Any) -> Any:
        """The pipeline, an instance of the class `pipeline`, from the model's folder; `parts` are given."""
        return pipeline.from_pretrained(str(self.model.folder), variant=self.model.variant, **how, **parts)

    # --- painting

    def call(self, work: Work) -> dict[str, Any]:
        """The arguments of the pipeline's call."""
        height, width = work.size
        given: dict[str, Any] = {
            "image": work.images,
            "mask_image": work.masks,
            "height": height,
            "width": width,
            "num_inference_steps": work.steps,
            "guidance_scale": work.guidance,
            "generator": work.generators,
            "output_type": "pt",
            "callback_on_step_end": _stepping(work),
        }
        if self.reads_text:
            given["prompt"] = [work.prompt] * work.count
        if self.takes_strength:
            given["strength"] = work.strength
        if self.reads_negative:
            given["negative_prompt"] = [work.negative_prompt] * work.count
        return given

    def refused(self, output: Any) -> list[bool] | None:
        """Which pictures the safety checker has blackened, None where there is none."""
        flags = getattr(output, "nsfw_content_detected", None)
        return None if flags is None else [bool(flag) for flag in flags]


def _stepping(work: Work):
    def step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        work.each_step()
        return tensors

    return step


class StableDiffusion(Family):
    """SD 1.x and 2.x, for inpainting (UNet of 9 channels) or not (4: what is painted knows less of its
    surroundings)."""

    name, title = "sd15", "Stable Diffusion"
    saved_as = ("StableDiffusionInpaintPipeline", "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
    pipeline = "StableDiffusionInpaintPipeline"
    with_depth = "StableDiffusionControlNetInpaintPipeline"
    half, side, multiple, steps, guidance = "float16", 512, 8, 25, 7.5
    references = "adapter"

    def own_side(self) -> int:
        size = self.model.config("unet").get("sample_size", 64)
        blocks = self.model.config("vae").get("block_out_channels", [0] * 4)
        side = max(size) if isinstance(size, list) else size
        return int(side) * 2 ** (len(blocks) - 1)

    def without(self, safety: bool) -> dict[str, Any]:
        return {} if safety else {"safety_checker": None, "requires_safety_checker": False}

    def call(self, work: Work) -> dict[str, Any]:
        given = super().call(work)
        if work.depths is not None:
            given |= {"control_image": work.depths, "controlnet_conditioning_scale": work.control_scale}
        if work.references:
            given["ip_adapter_image"] = [list(work.references)]
        return given


class StableDiffusionXL(StableDiffusion):
    name, title = "sdxl", "Stable Diffusion XL"
    saved_as = (
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
    )
    pipeline = "StableDiffusionXLInpaintPipeline"
    with_depth = "StableDiffusionXLControlNetInpaintPipeline"
    side, guidance = 1024, 7.0

    def without(self, safety: bool) -> dict[str, Any]:
        return {"add_watermarker": False}  # it would disagree from view to view


class Flux2Klein(Family):
    """Sees the whole picture it starts from, and reference pictures beside it."""

    name, title = "flux2-klein", "FLUX.2 [klein]"
    saved_as = ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline")
    pipeline = "Flux2KleinInpaintPipeline"
    references, reads_negative = "optional", False  # guidance is away from no text at all

    @property
    def distilled(self) -> bool:
        return bool(self.model.index.get("is_distilled", False))

    def own_steps(self) -> int:
        return 4 if self.distilled else self.steps

    def own_guidance(self) -> float:
        return 1.0 if self.distilled else self.guidance

    def call(self, work: Work) -> dict[str, Any]:
        given = super().call(work)
        if work.references:
            given["image_reference"] = sheet_of(work.references)
        return given


class FluxFill(Family):
    name, title = "flux-fill", "FLUX.1 Fill"
    saved_as = ("FluxFillPipeline",)
    pipeline = "FluxFillPipeline"
    guidance, reads_negative = 30.0, False


class QwenImage(Family):
    name, title = "qwen-image", "Qwen-Image"
    saved_as = ("QwenImagePipeline", "QwenImageInpaintPipeline", "QwenImageImg2ImgPipeline")
    pipeline = "QwenImageInpaintPipeline"

    def call(self, work: Work) -> dict[str, Any]:
        given = super().call(work)
        given["true_cfg_scale"] = given.pop("guidance_scale")
        given["negative_prompt"] = [work.negative_prompt or " "] * work.count  # without one, no guidance
        return given


class ZImage(Family):
    name, title = "z-image", "Z-Image"
    saved_as = ("ZImagePipeline", "ZImageInpaintPipeline", "ZImageImg2ImgPipeline")
    pipeline = "ZImageInpaintPipeline"
    with_depth, control = "ZImageControlNetInpaintPipeline", "ZImageControlNetModel"

    @property
    def turbo(self) -> bool:
        return "turbo" in f"{self.model.name} {self.model.folder}".lower()

    def own_steps(self) -> int:
        return 9 if self.turbo else self.steps

    def own_guidance(self) -> float:
        return 0.0 if self.turbo else self.guidance

    def call(self, work: Work) -> dict[str, Any]:
        given = super().call(work)
        if work.depths is not None:
            del given["strength"]
            given |= {"control_image": work.depths, "controlnet_conditioning_scale": work.control_scale}
        return given


class PaintByExample(Family):
    """What the paper's experiments with reference pictures used; old, and deprecated in diffusers."""

    name, title = "paint-by-example", "Paint by Example"
    saved_as = ("PaintByExamplePipeline",)
    pipeline = "PaintByExamplePipeline"
    half, side, multiple, steps, guidance = "float16", 512, 8, 30, 5.0
    reads_text, reads_negative, takes_strength, references = False, False, False, "needed"

    def without(self, safety: bool) -> dict[str, Any]:
        return {} if safety else {"safety_checker": None, "requires_safety_checker": False}

    def build(self, pipeline: Any, parts: dict[str, Any], **how: Any) -> Any:
        """Part by part: diffusers no longer finds the class of the image encoder by itself."""
        import diffusers
        from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
        from transformers import CLIPImageProcessor

        folder, own = str(self.model.folder), self.model.components
        kinds = {
            "vae": diffusers.AutoencoderKL,
            "image_encoder": PaintByExampleImageEncoder,
            "unet": diffusers.UNet2DConditionModel,
            "safety_checker": StableDiffusionSafetyChecker,
        }
        for part, kind in kinds.items():
            if part in own and part not in parts:
                variant = self.model.variant if issubclass(kind, diffusers.ModelMixin) else None
                parts[part] = kind.from_pretrained(folder, subfolder=part, variant=variant, **how)
        scheduler = getattr(diffusers, own["scheduler"]).from_pretrained(folder, subfolder="scheduler")
        eyes = CLIPImageProcessor.from_pretrained(
            folder, subfolder="feature_extractor", local_files_only=True
        )
        parts.setdefault("safety_checker", None)
        return pipeline(scheduler=scheduler, feature_extractor=eyes, **parts)

    def call(self, work: Work) -> dict[str, Any]:
        given = super().call(work)
        given["image"] = 2 * given["image"] - 1  # it takes tensors as they are
        given["example_image"] = [sheet_of(work.references)] * work.count
        del given["callback_on_step_end"]
        given["callback"] = lambda step, timestep, latents: work.each_step()
        return given


FAMILIES: tuple[type[Family], ...] = (
    Flux2Klein,
    StableDiffusionXL,
    StableDiffusion,
    ZImage,
    QwenImage,
    FluxFill,
    PaintByExample,
)


def family_of(model: Model) -> Family:
    """The family of a model. Raises InputError for a pipeline that cannot be used for painting."""
    for kind in FAMILIES:
        if model.pipeline_class in kind.saved_as:
            return kind(model)
    usable = ", ".join(kind.title for kind in FAMILIES)
    raise InputError(
        f"the model {model.name} is a {model.pipeline_class}, which the inpainter diffusion cannot use; it "
        f"can use models for text-to-image or inpainting of these families: {usable}"
    )


def sheet_of(references: tuple[Any, ...]) -> Any:
    """Several reference pictures as one, side by side in one height, for models that take a single one."""
    from PIL import Image

    if len(references) == 1:
        return references[0]
    height = min(picture.height for picture in references)
    scaled = [p.resize((max(1, round(p.width * height / p.height)), height)) for p in references]
    sheet = Image.new("RGB", (sum(p.width for p in scaled), height))
    left = 0
    for picture in scaled:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def by_name() -> Mapping[str, type[Family]]:
    return {kind.name: kind for kind in FAMILIES}
