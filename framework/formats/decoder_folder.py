"""Decoders of styles on the disk: a folder with `config.json` and `decoder.safetensors`."""

from framework.formats.network_folder import NetworkFolder
from framework.models.style.network import StyleDecoder

DECODERS = NetworkFolder(
    "decoder", "no decoder of styles", StyleDecoder.from_config, "dragline-style-decoder"
)
