"""Networks other than StyleGAN2, or in an unsupported layout, recognised by their tensors.

To someone who took the wrong file from a page of downloads, "a StyleGAN3" says more than "2
entries, such as ...". A design is recognised by tensor names that it alone uses.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from framework.formats.storages import StoredTensor
from framework.formats.symbols import NumpyArray, StoredObject

_MOST_NAMES, _DEEPEST = 5000, 12
_NOT_READ = "a StyleGAN2 in the layout of {}, which is not read"
_CONVERT = "its converters give NVIDIA's or rosinality's, which are"


class Design(NamedTuple):
    """A design, and patterns that each match a name of its tensors."""

    what: str
    patterns: tuple[str, ...]


# More specific designs come first. The names are from the programs' own sources.
DESIGNS = (
    Design("a StyleGAN-XL generator", (r"mapping\.embed_proj\.",)),
    Design("a StyleGAN3 generator", (r"synthesis\.input\.(?:freqs|phases|weight|affine)",)),
    Design("an EG3D generator", (r"(?:backbone|superresolution)\.", r"decoder\.net\.|synthesis\.")),
    Design("a FastGAN or Projected GAN generator", (r"feat_8\.", r"\bto_(?:big|128)\b|se_64\.")),
    Design("a Projected GAN's discriminator", (r"feature_network\.", r"discriminator\.")),
    Design(_NOT_READ.format("mmgeneration"), (r"style_mapping\.\d+\.", r"constant_input\.")),
    Design(_NOT_READ.format("lucidrains' stylegan2-pytorch"), (r"\bS\.net\.", r"\bG\.blocks\.")),
    Design("lucidrains' lightweight GAN", (r"\bG\.(?:initial_conv|layers)\.", r"\bD\.")),
    Design(_NOT_READ.format("BasicSR"), (r"(?:^|\.)style_mlp\.\d", r"(?:^|\.)style_convs\.\d")),
    Design("GFPGAN, a restorer of faces", (r"stylegan_decoder\.", r"conv_body_first\.")),
    Design("GPEN, a restorer of faces", (r"\becd\d\.", r"generator\.")),
    Design("CodeFormer, a restorer of faces", (r"quantize\.emb", r"fuse_convs_dict|ft_layers")),
    Design("Real-ESRGAN, an enlarger", (r"conv_first\.", r"rdb1|RDB1|body\.\d+\.weight")),
    Design(_NOT_READ.format("GenForce"), (r"synthesis\.layer0\.", r"mapping\.dense0\.")),
    Design("a MobileStyleGAN", (r"(?:synthesis|mapping|student)_net\.",)),
    Design("a SWAGAN generator", (r"to_rgbs?\d*\.\d*\.?iwt\.", r"conv1\.conv\.modulation")),
    Design("a StyleSwin generator", (r"layers\.\d+\.blocks\.\d+\.attn", r"style\.1\.weight")),
    Design("a first StyleGAN of rosinality's", (r"progression\.\d+\.", r"to_rgb\.\d+\.")),
    Design("a ProGAN of PyTorch GAN Zoo", (r"(?:scaleLayers|groupScale0|formatLayer)\.",)),
    Design("a ProGAN", (r"(?:initial_block|init_block|prog_blocks)\.", r"(?:rgb_|to_?rgb)")),
    Design("a BigGAN", (r"blocks\.\d+\.\d+\.bn1\.gain|generator\.gen_z\.|bigGAN",)),
    Design("a StarGAN v2", (r"\bdecode\.\d+\.norm1\.fc\.",)),
    Design("a CycleGAN or pix2pix generator", (r"model\.\d+\.conv_block\.\d+\.",)),
    Design("a pix2pix generator", (r"model\.model\.\d+\.model\.\d+\.",)),
    Design("a DCGAN generator", (r"\bmain\.\d+\.weight", r"\bmain\.\d+\.running_mean")),
    Design("a pi-GAN", (r"mapping_network\.network\.", r"film|final_layer|color_layer")),
    Design("a ControlNet", (r"controlnet_(?:cond|down)|control_model\.",)),
    Design("a LoRA, an addition to another model", (r"lora[_.](?:up|down|[AB])\b|lora_unet",)),
    Design("a Stable Diffusion checkpoint", (r"model\.diffusion_model\.",)),
    Design("a diffusion U-Net of diffusers'", (r"(?:down|up)_blocks\.\d+\.resnets\.", r"time_emb")),
    Design("an autoencoder of diffusers'", (r"(?:de|en)coder\.(?:up|down)_blocks\.",)),
    Design("a diffusion transformer", (r"(?:transformer|joint|double|single)_blocks\.\d+\.",)),
    Design("a VQGAN or autoencoder", (r"decoder\.up\.\d", r"encoder\.down\.\d")),
    Design("a diffusion U-Net", (r"(?:input|output)_blocks\.\d+\.", r"middle_block\.")),
    Design("a diffusion U-Net (EDM)", (r"(?:enc|dec)\.\d+x\d+_(?:conv|block|in)",)),
    Design("a diffusion U-Net (DDPM)", (r"\bdowns?\.\d+\.", r"\bups?\.\d+\.", r"\bmid[._]")),
    Design("CLIP", (r"visual\.(?:conv1|class_embedding|transformer)|text_model\.encoder",)),
    Design("a language model", (r"self_attn\.(?:q|k|v)_proj|attention\.self\.query|h\.\d+\.attn",)),
    Design("LPIPS, a perceptual distance", (r"\blin0\.model\.1\.",)),
    Design("an Inception network", (r"Mixed_5b\.",)),
    Design("a face recogniser (IR-SE50)", (r"input_layer\.0\.", r"output_layer\.3\.")),
    Design("an encoder of pSp's or e4e's without its checkpoint",
           (r"^input_layer\.0\.", r"^styles\.\d+\.")),
    Design("a face parser (BiSeNet)", (r"\bcp\.resnet\.",)),
    Design("a ResNet", (r"layer1\.0\.conv1\.weight", r"layer4\.0\.conv1\.weight")),
    Design("a vision transformer", (r"blocks\.\d+\.attn\.qkv",)),
    Design("a VGG network", (r"features\.0\.weight", r"(?:classifier\.0|features\.2\d)\.weight")),
)  # fmt: skip
_COMPILED = [(d.what, [re.compile(pattern) for pattern in d.patterns]) for d in DESIGNS]


def design_among(names: list[str]) -> str:
    """Return the design whose tensors have such names; empty if unknown."""
    for what, patterns in _COMPILED:
        if all(any(map(pattern.search, names)) for pattern in patterns):
            return what
    return ""


def other_design(value: Any) -> str:
    """Say why a file is not opened, if its design is recognised; else empty."""
    design = design_among(list(_names(value)))
    if not design:
        return ""
    return f"this is {design}; {_CONVERT if 'layout' in design else 'only StyleGAN2 is supported'}"


def _names(value: Any) -> Iterator[str]:
    """Yield dotted names of tensors within tables and modules, as many as are needed."""
    waiting, visited = deque([("", value, 0)]), 0
    while waiting and visited < _MOST_NAMES:
        prefix, table, depth = waiting.popleft()
        if isinstance(table, StoredObject):
            parts = [(table.state or {}).get(name) for name in ("_parameters", "_buffers")]
            children = (table.state or {}).get("_modules")
            tables = [part for part in (*parts, children) if isinstance(part, dict)]
            items = [item for part in tables for item in part.items()]
        elif isinstance(table, dict):
            items = list(table.items())
        else:
            continue
        for key, item in items:
            visited += 1
            name = f"{prefix}{key}"[-512:]
            if isinstance(item, StoredTensor | NumpyArray):
                yield name
            elif isinstance(item, dict | StoredObject) and depth < _DEEPEST:
                waiting.append((f"{name}.", item, depth + 1))
