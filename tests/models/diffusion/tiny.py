"""The smallest diffusion models: of pixels, and of Stable Diffusion's kind in its layout."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from framework.formats.diffusion_folder import load_diffusion, save_diffusion_folder
from framework.models.diffusion.generator import DiffusionGenerator
from framework.models.diffusion.unet import pixel_unet

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 40,
    "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip
STABLE: dict[str, Any] = {
    "_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085,
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "set_alpha_to_one": False,
    "steps_offset": 1, "skip_prk_steps": True, "clip_sample": False,
}  # fmt: skip
CHOICES: dict[str, Any] = {"steps": 8, "strength": 0.7}


def tiny_unet(size: tuple[int, int] = (32, 32), seed: int = 0) -> nn.Module:
    """A U-Net of 2x2 cells, random but smooth enough to be dragged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return pixel_unet(size, 3, 2, (16, 16, 16), 1, 8, 8).eval().requires_grad_(False)


def tiny_folder(folder: Path, half: bool = False, **sizes: Any) -> Path:
    return save_diffusion_folder(folder, tiny_unet(**sizes), SCHEDULER, {"data": "none"}, "", half)


def tiny_generator(
    folder: Path, size: tuple[int, int] = (32, 32), **choices: Any
) -> DiffusionGenerator:
    return load_diffusion(tiny_folder(folder, size=size), **{**CHOICES, **choices})


def stable_folder(folder: Path, half: bool = False) -> Path:
    """A miniature of Stable Diffusion 1.5 in its layout on the disk, its weights random."""
    from transformers import CLIPTextConfig, CLIPTextModel

    dtype = torch.float16 if half else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=16, block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8,
            cross_attention_dim=12, attention_head_dim=2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49, hidden_size=12, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=16, bos_token_id=47, eos_token_id=48,
                pad_token_id=48,
            )
        )  # fmt: skip
    unet.to(dtype).save_pretrained(folder / "unet")
    vae.to(dtype).save_pretrained(folder / "vae")
    text.to(dtype).save_pretrained(folder / "text_encoder")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters[:23], *(f"{letter}</w>" for letter in letters[:24])]
    vocabulary = {word: i for i, word in enumerate(words)}
    vocabulary |= {"<|startoftext|>": 47, "<|endoftext|>": 48}
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    facts = {"model_max_length": 16, "tokenizer_class": "CLIPTokenizer",
             "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
             "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}  # fmt: skip
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(facts))
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(STABLE))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
