"""Diffusion models of every supported family with small random weights, in the form that hubs serve them.

They paint noise, but take the same inputs as the real ones and load by the same code. `build(family, folder)`
writes one in about a second; the text encoders know a few hundred tokens.
"""

from pathlib import Path

import torch

VOCABULARY = [chr(c) for c in range(33, 127)]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(family, folder):
    """Write the model of a family under its name in `folder`; its path."""
    torch.manual_seed(0)
    path = Path(folder) / family
    BUILDERS[family]().save_pretrained(path, safe_serialization=True)
    return path


# --- parts


def clip_tokenizer():
    from transformers import CLIPTokenizer

    tokens = [*VOCABULARY, *(c + "</w>" for c in VOCABULARY), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: k for k, token in enumerate(tokens)},
        merges=[],
        model_max_length=77,
        pad_token="<|endoftext|>",
    )


def clip_text(projection=False, width=32):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=2 * len(VOCABULARY) + 2,
        projection_dim=32,
        bos_token_id=188,
        eos_token_id=189,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def clip_vision_config():
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        image_size=32,
        patch_size=8,
        projection_dim=32,
    )


def clip_processor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def vae(blocks=2):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=[16, 32][:blocks],
        norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
        latent_channels=4,
        sample_size=64,
    )


def unet(channels=9, xl=False, cross=32):
    from diffusers import UNet2DConditionModel

    more = (
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
            "transformer_layers_per_block": (1, 2),
            "use_linear_projection": True,
            "attention_head_dim": (2, 4),
        }
        if xl
        else {"attention_head_dim": 8}
    )
    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=32,
        in_channels=channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross,
        **more,
    )


def sd_scheduler():
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
    )


def flow_scheduler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def qwen_tokenizer():
    from transformers import Qwen2TokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 324)]]  # GPT-2's bytes
    tokens = {token: k for k, token in enumerate([*alphabet, *special])}
    tokenizer = Qwen2TokenizerFast(vocab=tokens, merges=[])
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen3(layers=3):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            vocab_size=300,
            max_position_embeddings=512,
        )
    ).eval()


# --- families


def safety_checker():
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    config = CLIPConfig(vision_config=clip_vision_config().to_dict(), projection_dim=32)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(2.0)  # a cosine that nothing reaches: nothing is refused
    checker.special_care_embeds_weights.data.fill_(2.0)
    return checker


def sd15(channels=9):
    from diffusers import StableDiffusionInpaintPipeline

    return StableDiffusionInpaintPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(channels),
        scheduler=sd_scheduler(),
        safety_checker=safety_checker(),
        feature_extractor=clip_processor(),
    )


def sdxl(channels=9):
    from diffusers import StableDiffusionXLInpaintPipeline

    return StableDiffusionXLInpaintPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projection=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(channels, xl=True, cross=64),
        scheduler=sd_scheduler(),
    )


def flux2_klein():
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel

    return Flux2KleinPipeline(
        scheduler=flow_scheduler(),
        vae=AutoencoderKLFlux2(
            block_out_channels=(4, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=1,
            sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            mid_block_add_attention=False,
        ),
        text_encoder=qwen3(28),
        tokenizer=qwen_tokenizer(),
        transformer=Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=True,
    )


def flux_fill():
    from diffusers import AutoencoderKL, FluxFillPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    tokens = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("\u2581", -2.0),
        *((c, -3.0) for c in VOCABULARY),
    ]
    return FluxFillPipeline(
        scheduler=flow_scheduler(),
        vae=AutoencoderKL(
            block_out_channels=(4, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=1,
            sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.1,
            scaling_factor=0.4,
        ),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
        ).eval(),
        tokenizer_2=T5TokenizerFast(vocab=tokens, extra_ids=0),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=2 * 16 + 16,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    )


def z_image():
    from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel

    return ZImagePipeline(
        scheduler=flow_scheduler(),
        vae=AutoencoderKL(
            block_out_channels=(8, 16),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            scaling_factor=0.36,
            shift_factor=0.11,
        ),
        text_encoder=qwen3(),
        tokenizer=qwen_tokenizer(),
        transformer=ZImageTransformer2DModel(
            all_patch_size=(2,),
            all_f_patch_size=(1,),
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 64, 64],
        ),
    )


def qwen_image():
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
            "vocab_size": 300,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
        },
    )
    latents = 4
    return QwenImagePipeline(
        scheduler=flow_scheduler(),
        vae=AutoencoderKLQwenImage(
            base_dim=latents * 6,
            z_dim=latents,
            dim_mult=[1, 2, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.0] * latents,
            latents_std=[1.0] * latents,
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=qwen_tokenizer(),
        transformer=QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
    )


def paint_by_example():
    from diffusers import PaintByExamplePipeline
    from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder

    return PaintByExamplePipeline(
        vae=vae(),
        image_encoder=PaintByExampleImageEncoder(clip_vision_config(), proj_size=32),
        unet=unet(),
        scheduler=sd_scheduler(),
        safety_checker=None,
        feature_extractor=clip_processor(),
    )


def controlnet(xl=False):
    from diffusers import ControlNetModel

    model = unet(4, xl=xl, cross=64 if xl else 32)
    return ControlNetModel.from_unet(model, conditioning_embedding_out_channels=(8, 8))


def z_image_controlnet():
    """Reads the control picture, the mask and what is kept: 4 + 1 + 4 channels."""
    from diffusers import ZImageControlNetModel

    sizes = {"dim": 32, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2}
    return ZImageControlNetModel(
        control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=9, **sizes
    )


BUILDERS = {
    "sd15": sd15,
    "sd15-base": lambda: sd15(4),
    "sdxl": sdxl,
    "flux2-klein": flux2_klein,
    "flux-fill": flux_fill,
    "z-image": z_image,
    "qwen-image": qwen_image,
    "paint-by-example": paint_by_example,
    "controlnet": controlnet,
    "controlnet-xl": lambda: controlnet(True),
    "controlnet-z": z_image_controlnet,
}


# --- what goes beside a model


def ip_adapter(model, folder):
    """An IP-Adapter for the model of SD 1.5 in `model`, in the published form; its file."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.embeddings import ImageProjection
    from safetensors.torch import save_file
    from transformers import CLIPVisionModelWithProjection

    torch.manual_seed(1)
    network = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    width, state, key = network.config.cross_attention_dim, {}, 1
    for name in network.attn_processors:
        if name.endswith("attn1.processor"):
            continue
        size = network.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for part in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{key}.{part}.weight"] = torch.randn(size, width) * 0.3
        key += 2
    projection = ImageProjection(cross_attention_dim=width, image_embed_dim=32, num_image_text_embeds=4)
    weights = projection.state_dict()
    state |= {
        "image_proj.proj.weight": weights["image_embeds.weight"],
        "image_proj.proj.bias": weights["image_embeds.bias"],
        "image_proj.norm.weight": weights["norm.weight"],
        "image_proj.norm.bias": weights["norm.bias"],
    }
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "ip_adapter.safetensors")
    CLIPVisionModelWithProjection(clip_vision_config()).save_pretrained(folder / "image_encoder")
    return folder / "ip_adapter.safetensors"


def lora(model, file):
    """A LoRA for the UNet of the model, as training scripts save it; the file."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(2)
    network = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    state = get_peft_model_state_dict(network)
    state = {key: torch.randn_like(value) for key, value in state.items()}
    StableDiffusionPipeline.save_lora_weights(file.parent, unet_lora_layers=state, weight_name=file.name)
    return file


def clip(folder):
    """CLIP with its tokenizer and picture processor, as the hub has it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    text = clip_text().config.to_dict()
    config = CLIPConfig(text_config=text, vision_config=clip_vision_config().to_dict(), projection_dim=32)
    CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    clip_processor().save_pretrained(folder)
    return folder
