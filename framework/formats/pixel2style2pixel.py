"""Files of pSp and e4e: an encoder beside a rosinality generator (`decoder.`).

Both families store the same keys for different designs; only `opts` tells them apart.
"""

from typing import Any

from framework.errors import BrokenCheckpoint
from framework.formats import rosinality
from framework.formats.contents import Contents, EncoderParts, plain, sample_of, without_prefixes
from framework.formats.state_dict import assemble
from framework.formats.storages import StoredTensor

_DECODER, _ENCODER = "decoder.", "encoder."


def recognises(value: Any) -> bool:
    """Whether a file's value is a pSp or e4e checkpoint."""
    state = value.get("state_dict") if isinstance(value, dict) else None
    return isinstance(state, dict) and any(
        name.startswith((_DECODER, _ENCODER)) for name in without_prefixes(state)
    )


def read(value: dict[str, Any], where: str) -> Contents:
    """Take the generator and the encoder out of a checkpoint.

    Raises:
        BrokenCheckpoint: If the generator is incomplete.
    """
    contents = Contents("pSp/e4e", {})
    state = without_prefixes(value["state_dict"])
    opts = plain(value.get("opts") or {}, where)
    latent_avg = value.get("latent_avg")
    decoder = _below(state, _DECODER)
    if decoder:
        networks = {"generator": rosinality.generator(decoder, latent_avg, contents, where)}
        assemble(contents, networks, where)
    encoder = _below(state, _ENCODER)
    odd = [name for name, tensor in encoder.items() if not isinstance(tensor, StoredTensor)]
    if odd:
        raise BrokenCheckpoint(f"{where}: encoder.{odd[0][:60]} is not a tensor")
    if encoder:
        contents.encoder = EncoderParts(
            encoder_type=str(opts.get("encoder_type", "")) if isinstance(opts, dict) else "",
            tensors=encoder,
            latent_avg=latent_avg if isinstance(latent_avg, StoredTensor) else None,
            opts=opts if isinstance(opts, dict) else {},
        )
    elif not decoder:
        raise BrokenCheckpoint(f"{where}: neither encoder nor generator; {sample_of(state)}")
    if opts:
        contents.provenance["opts"] = opts
    return contents


def _below(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
