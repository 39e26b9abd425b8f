"""Encoders from and to their weights."""

from framework.errors import UserError
from framework.inversion.encoder import Encoder, StyleEncoder
from framework.models.encoder_weights import EncoderWeights
from framework.models.stylegan2 import Generator

OWN = "dragline"


def build_encoder(weights: EncoderWeights, generator: Generator) -> StyleEncoder:
    """Make the encoder of a generator from its weights."""
    if weights.encoder_type != OWN:
        raise UserError(f"encoder_type {weights.encoder_type!r}: not known")
    encoder = Encoder(**weights.opts)
    tensors = {name: tensor.float() for name, tensor in weights.tensors.items()}
    encoder.load_state_dict(tensors)
    return encoder.eval().requires_grad_(False).to(next(generator.parameters()).device)


def encoder_weights(encoder: StyleEncoder) -> EncoderWeights:
    """An encoder's weights, copied to the CPU, as `save_model_folder` takes them."""
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in encoder.state_dict().items()
    }
    return EncoderWeights(OWN, tensors, None, dict(encoder.config))
