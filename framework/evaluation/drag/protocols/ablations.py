"""`ablations`: what each part of a diffusion model's drag is for, as DragDiffusion asks.

Shi et al. 2024, section 5.3: time step, LoRA steps, block of the features, each part left out; on
the drawings of `drawn`.
"""

from collections.abc import Mapping

from framework.evaluation.drag.protocols.drawn import VARIANTS, Drawn
from framework.evaluation.drag.put_in import Variant

PARTS: Mapping[str, Variant] = {
    **VARIANTS,
    ", neither": Variant(lora_steps=0, reference=1.0),
    **{f", strength {s:g}": Variant(strength=s) for s in (0.3, 0.5, 0.9)},
    **{f", LoRA of {steps} steps": Variant(lora_steps=steps) for steps in (20, 160)},
    ", features at 16": Variant(settings=(("feature_resolution", 16),)),
}
"""All that varies, by what a row's name says of it; the first row has the usual values."""

PROTOCOL = Drawn(
    name="ablations",
    about="Parts of the drag of a diffusion model left out or changed, one at a time, on the wheels"
    " of the protocol `drawn`: LoRA, reference-latent control, tracking, both of the first, the"
    " time step of the latents (as a share of DDIM's steps; 0.7 is usual), the LoRA's steps (80)"
    " and the block whose features are compared (the last but one).",
    groups=("wheels",),
    variants=PARTS,
)
