"""The differences between kinds of models: one small class for each, recognized by model_index.json.

To add a family, write another class and add it to FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from nerf_insert.errors import InputError
from nerf_insert.hub.weights import Model

if TYPE_CHECKING:  # it needs torch, which takes seconds to load; listing models does not
    from nerf_insert.inpaint.diffusion.request import InpaintRequest


class Family:
    """A kind of model. The defaults fit most latent models.

    Attributes:
        name: Short name.
        title: Name in messages.
        loadable_classes: Pipeline classes of the models that can be used.
        pipeline: The pipeline class that inpaints.
        depth_pipeline: The one that also takes depth images through a ControlNet; None: there is none.
        controlnet_class: The class of that ControlNet.
        half_dtype: The half precision that the models were trained for.
        multiple: The sides of images are multiples of this, pixels.
        side: Side of the training images, pixels.
        steps: Denoising steps.
        guidance: Guidance scale.
        control_scale: Weight of the ControlNet.
        reads_text: Whether the pipeline takes a prompt.
        reads_negative: Whether it takes a negative prompt.
        takes_strength: Whether it takes a strength.
        references: Use of reference images: none, adapter (through an IP-Adapter), optional or needed.
        bytes_per_pixel: Memory for inference at half precision, a rough upper bound.
        model: The model on this machine.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    loadable_classes: ClassVar[tuple[str, ...]]
    pipeline: ClassVar[str]
    depth_pipeline: ClassVar[str | None] = None
    controlnet_class: ClassVar[str] = "ControlNetModel"
    half_dtype: ClassVar[str] = "bfloat16"
    multiple: ClassVar[int] = 16
    side: ClassVar[int] = 1024
    steps: ClassVar[int] = 28
    guidance: ClassVar[float] = 4.0
    control_scale: ClassVar[float] = 0.7
    reads_text: ClassVar[bool] = True
    reads_negative: ClassVar[bool] = True
    takes_strength: ClassVar[bool] = True
    references: ClassVar[str] = "none"
    bytes_per_pixel: ClassVar[int] = 6000

    def __init__(self, model: Model):
        self.model = model

    # --- defaults of the model

    def default_side(self) -> int:
        """Return the side of the images that the model inpaints best, pixels."""
        return self.side

    def default_steps(self) -> int:
        """Return the number of denoising steps."""
        return self.steps

    def default_guidance(self) -> float:
        """Return the guidance scale."""
        return self.guidance

    def disabled_components(self, safety: bool) -> dict[str, Any]:
        """Return the arguments for loading that leave out the safety checker, unless `safety` is set."""
        return {}

    def build(self, pipeline: Any, parts: dict[str, Any], **how: Any) -> Any:
        """Load the pipeline from the model's folder.

        Args:
            pipeline: The pipeline class.
            parts: Components that are loaded already, or None for those to leave out.
            how: Further arguments of from_pretrained.
        """
        return pipeline.from_pretrained(str(self.model.folder), variant=self.model.variant, **how, **parts)

    # --- inpainting

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Return the keyword arguments of the pipeline's call."""
        height, width = request.size
        given: dict[str, Any] = {
            "image": request.images,
            "mask_image": request.masks,
            "height": height,
            "width": width,
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance,
            "generator": request.generators,
            "output_type": "pt",
            "callback_on_step_end": _step_callback(request),
        }
        if self.reads_text:
            given["prompt"] = [request.prompt] * request.count
        if self.takes_strength:
            given["strength"] = request.strength
        if self.reads_negative:
            given["negative_prompt"] = [request.negative_prompt] * request.count
        return given

    def rejected(self, output: Any) -> list[bool] | None:
        """Return which images the safety checker has blackened, None if the pipeline has no checker."""
        flags = getattr(output, "nsfw_content_detected", None)
        return None if flags is None else [bool(flag) for flag in flags]


def _step_callback(request: InpaintRequest) -> Callable[..., dict[str, Any]]:
    """Make the callback that reports a step."""

    def step(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        request.on_step()
        return tensors

    return step


class StableDiffusion(Family):
    """Stable Diffusion 1.x and 2.x.

    Models for inpainting have a UNet of 9 channels; those of 4 take less account of the surroundings.
    """

    name, title = "sd15", "Stable Diffusion"
    loadable_classes = (
        "StableDiffusionInpaintPipeline",
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
    )
    pipeline = "StableDiffusionInpaintPipeline"
    depth_pipeline = "StableDiffusionControlNetInpaintPipeline"
    half_dtype, side, multiple, steps, guidance = "float16", 512, 8, 25, 7.5
    references = "adapter"

    def default_side(self) -> int:
        """Return the side of the UNet's latents times the VAE's scale factor, pixels."""
        size = self.model.config("unet").get("sample_size", 64)
        blocks = self.model.config("vae").get("block_out_channels", [0] * 4)
        side = max(size) if isinstance(size, list) else size
        return int(side) * 2 ** (len(blocks) - 1)

    def disabled_components(self, safety: bool) -> dict[str, Any]:
        """Leave out the safety checker, and the demand for one, unless `safety` is set."""
        return {} if safety else {"safety_checker": None, "requires_safety_checker": False}

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Add depth images for the ControlNet and reference images for the IP-Adapter."""
        given = super().call_arguments(request)
        if request.depths is not None:
            given |= {"control_image": request.depths, "controlnet_conditioning_scale": request.control_scale}
        if request.references:
            given["ip_adapter_image"] = [list(request.references)]
        return given


class StableDiffusionXL(StableDiffusion):
    """Stable Diffusion XL."""

    name, title = "sdxl", "Stable Diffusion XL"
    loadable_classes = (
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
    )
    pipeline = "StableDiffusionXLInpaintPipeline"
    depth_pipeline = "StableDiffusionXLControlNetInpaintPipeline"
    side, guidance = 1024, 7.0

    def disabled_components(self, safety: bool) -> dict[str, Any]:
        """Turn off the watermark; these models have no safety checker."""
        return {"add_watermarker": False}  # a watermark would differ between views


class Flux2Klein(Family):
    """FLUX.2 [klein]. Sees the whole image that it starts from, and reference images beside it."""

    name, title = "flux2-klein", "FLUX.2 [klein]"
    loadable_classes = ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline")
    pipeline = "Flux2KleinInpaintPipeline"
    references, reads_negative = "optional", False  # guidance is relative to the empty prompt

    @property
    def distilled(self) -> bool:
        """Whether the model needs few steps and no guidance."""
        return bool(self.model.index.get("is_distilled", False))

    def default_steps(self) -> int:
        """Return 4 for distilled models, else the family's number of steps."""
        return 4 if self.distilled else self.steps

    def default_guidance(self) -> float:
        """Return 1 (no guidance) for distilled models, else the family's guidance scale."""
        return 1.0 if self.distilled else self.guidance

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Add the reference images, joined into one."""
        given = super().call_arguments(request)
        if request.references:
            given["image_reference"] = join_references(request.references)
        return given


class FluxFill(Family):
    """FLUX.1 Fill."""

    name, title = "flux-fill", "FLUX.1 Fill"
    loadable_classes = ("FluxFillPipeline",)
    pipeline = "FluxFillPipeline"
    guidance, reads_negative = 30.0, False


class QwenImage(Family):
    """Qwen-Image."""

    name, title = "qwen-image", "Qwen-Image"
    loadable_classes = ("QwenImagePipeline", "QwenImageInpaintPipeline", "QwenImageImg2ImgPipeline")
    pipeline = "QwenImageInpaintPipeline"

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Pass guidance as `true_cfg_scale`, with a negative prompt even where none is given."""
        given = super().call_arguments(request)
        given["true_cfg_scale"] = given.pop("guidance_scale")
        given["negative_prompt"] = [request.negative_prompt or " "] * request.count  # guidance needs one
        return given


class ZImage(Family):
    """Z-Image, and Z-Image-Turbo with few steps and no guidance."""

    name, title = "z-image", "Z-Image"
    loadable_classes = ("ZImagePipeline", "ZImageInpaintPipeline", "ZImageImg2ImgPipeline")
    pipeline = "ZImageInpaintPipeline"
    depth_pipeline, controlnet_class = "ZImageControlNetInpaintPipeline", "ZImageControlNetModel"

    @property
    def turbo(self) -> bool:
        """Whether the model is a Turbo version, by its name."""
        return "turbo" in f"{self.model.name} {self.model.folder}".lower()

    def default_steps(self) -> int:
        """Return 9 for Turbo versions, else the family's number of steps."""
        return 9 if self.turbo else self.steps

    def default_guidance(self) -> float:
        """Return 0 (no guidance) for Turbo versions, else the family's guidance scale."""
        return 0.0 if self.turbo else self.guidance

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Add depth images for the ControlNet, whose pipeline takes no strength."""
        given = super().call_arguments(request)
        if request.depths is not None:
            del given["strength"]
            given |= {"control_image": request.depths, "controlnet_conditioning_scale": request.control_scale}
        return given


class PaintByExample(Family):
    """The model of the paper's experiments with reference images; deprecated in diffusers."""

    name, title = "paint-by-example", "Paint by Example"
    loadable_classes = ("PaintByExamplePipeline",)
    pipeline = "PaintByExamplePipeline"
    half_dtype, side, multiple, steps, guidance = "float16", 512, 8, 30, 5.0
    reads_text, reads_negative, takes_strength, references = False, False, False, "needed"

    def disabled_components(self, safety: bool) -> dict[str, Any]:
        """Leave out the safety checker, and the demand for one, unless `safety` is set."""
        return {} if safety else {"safety_checker": None, "requires_safety_checker": False}

    def build(self, pipeline: Any, parts: dict[str, Any], **how: Any) -> Any:
        """Load component by component: diffusers no longer finds the class of the image encoder."""
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
        image_processor = CLIPImageProcessor.from_pretrained(
            folder, subfolder="feature_extractor", local_files_only=True
        )
        parts.setdefault("safety_checker", None)
        return pipeline(scheduler=scheduler, feature_extractor=image_processor, **parts)

    def call_arguments(self, request: InpaintRequest) -> dict[str, Any]:
        """Give images in -1..1, the references as one example, and a callback of the older form."""
        given = super().call_arguments(request)
        given["image"] = 2 * given["image"] - 1  # it does not normalize tensors
        given["example_image"] = [join_references(request.references)] * request.count
        del given["callback_on_step_end"]
        given["callback"] = lambda step, timestep, latents: request.on_step()
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
    """Return the family of a model.

    Raises:
        InputError: The model belongs to no supported family.
    """
    for kind in FAMILIES:
        if model.pipeline_class in kind.loadable_classes:
            return kind(model)
    usable = ", ".join(kind.title for kind in FAMILIES)
    raise InputError(
        f"the model {model.name} is a {model.pipeline_class}, which the inpainter diffusion cannot use; it "
        f"can use models for text-to-image or inpainting of these families: {usable}"
    )


def join_references(references: tuple[Any, ...]) -> Any:
    """Join reference images side by side at one height, for models that take a single one."""
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
