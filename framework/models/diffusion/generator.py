"""A diffusion model under the names by which programs know a generator.

Its latents are a noisy picture at one level, beside the one that the edit began with: `ws` has a
row of places for every channel of both, shape (N, 2·C, h·w), the edited picture first. So latents
of seeds, of photographs and of edits go through the same files and the same commands as those of a
StyleGAN2.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.models.diffusion.attention import DEPTH, answered_by_the_first, shared_layers
from framework.models.diffusion.schedule import Schedule
from framework.models.diffusion.spaces import Latents, Pixels
from framework.models.digest import Digested

STEPS = 50  # of DDIM
REFINEMENTS = 2  # of a step of the inversion


class DiffusionGenerator(Digested):
    """A frozen U-Net, the noise levels at which pictures are taken apart, and what it works on.

    Args:
        unet: A `UNet2DModel` or `UNet2DConditionModel` of diffusers.
        schedule: Its noise schedule.
        space: What the U-Net works on.
        steps: DDIM's steps between noise and picture; as many as there are, at most.
        strength: Share of them that lies between a picture and its latents; None for what is usual
            with what the U-Net works on.
        reference: Share of the attention layers before the first that is shared with the picture
            before the edit (see `framework.models.diffusion.attention`); 1 shares none.

    Attributes:
        t: Time step of the latents.
        num_ws: 2·C, rows of `ws`.
        w_dim: h·w, the length of a row.
    """

    c_dim = 0
    img_channels = 3

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        space: Pixels | Latents,
        steps: int = STEPS,
        strength: float | None = None,
        reference: float = DEPTH,
    ) -> None:
        super().__init__()
        strength = space.strength if strength is None else strength
        if not 0 < strength <= 1:
            raise UserError(f"{strength:g}: expected a share, above 0 and at most 1", "strength")
        self.unet, self.space, self.schedule = unet, space, schedule
        self.reference = reference
        self.steps = steps = min(steps, len(schedule))
        self._times = schedule.timesteps(steps)
        self.strength = strength
        config: Any = unet.config
        side = config.sample_size
        self.channels = int(config.in_channels)
        self.places = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
        self.img_size = [self.places[0] * space.factor, self.places[1] * space.factor]
        self.num_ws, self.w_dim = 2 * self.channels, self.places[0] * self.places[1]
        self.z_dim = self.channels * self.w_dim
        self.provenance: dict[str, Any] = {}

    @property
    def level(self) -> int:
        """Evaluations between latents and picture."""
        return max(1, round(self.steps * self.strength))

    @property
    def t(self) -> int:
        """Time step of the latents."""
        return self._times[self.level - 1]

    @property
    def step_gflop(self) -> float:
        """Operations (10^9) of an evaluation, about."""
        weights = sum(p.numel() for p in self.unet.parameters())
        return 2 * weights * self.w_dim / 8 / 1e9  # most weights are used at few places

    def before(self, t: int) -> int | None:
        """The next time step toward the picture; None for the picture itself."""
        place = self._times.index(t)
        return self._times[place - 1] if place else None

    # Latents

    def joined(self, x: Tensor, reference: Tensor | None = None) -> Tensor:
        """Latents (N, 2·C, h·w) of noisy pictures (N, C, h, w) and those they began as."""
        return torch.cat([x, x if reference is None else reference], dim=1).flatten(2)

    def parts(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy pictures (N, C, h, w), and those they began as, of latents."""
        x = ws.unflatten(2, self.places)
        return x[:, : self.channels], x[:, self.channels :]

    # The network

    def output(self, x: Tensor, t: int) -> Tensor:
        """What the U-Net predicts for x_t, (N, C, h, w)."""
        return cast(Any, self.unet)(x, t, **self.space.condition(len(x))).sample

    def looked_at(self, x: Tensor, block: nn.Module) -> tuple[Tensor, Tensor]:
        """What the U-Net predicts at the latents' level, and the output of one of its blocks."""
        seen: list[Tensor] = []

        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.append(output)

        handle = block.register_forward_hook(note)
        try:
            return self.output(x, self.t), seen[0]
        finally:
            handle.remove()

    def mapping(self, z: Tensor, c: Tensor | None = None, truncation_psi: float = 1.0) -> Tensor:
        """Latents of noise, (N, z_dim) standard normal: DDIM from pure noise to their level.

        Args:
            z: The noise.
            c: Nothing: there are no labels.
            truncation_psi: Without effect: noise has no mean picture to go to.
        """
        x = z.view(-1, self.channels, *self.places)
        for t in reversed(self._times[self.level :]):
            x0, _ = self.schedule.estimates(x, self.output(x, t), t)
            x0 = x0.clamp(-1, 1) if self.space.clips else x0
            alpha_bar = self.schedule.alpha_bar(t, x)
            noise = (x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
            x = self.schedule.noised(x0, noise, self.before(t))
        return self.joined(x)

    def synthesis(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Pictures (N, 3, H, W) of latents, by DDIM; those of unchanged ones are as they were."""
        x, reference = self.parts(ws)
        if torch.equal(x, reference) or self.reference >= 1:
            for t in reversed(self._times[: self.level]):
                x = self.schedule.step(x, self.output(x, t), t, self.before(t))
            return self.space.decode(x)
        both, count = torch.cat([reference, x]), len(x)
        with answered_by_the_first(shared_layers(self.unet, self.reference)):
            for t in reversed(self._times[: self.level]):
                both = self.schedule.step(both, self.output(both, t), t, self.before(t))
        return self.space.decode(both[count:])

    def inverted(self, pictures: Tensor, refinements: int = REFINEMENTS) -> Tensor:
        """Latents of pictures (N, 3, H, W) in [-1, 1]: DDIM the other way (Song et al. 2021).

        Args:
            pictures: The pictures.
            refinements: How often each step is solved again with the output at its own end, as the
                way back will use it (Garibi et al. 2024, ReNoise); 0 is plain DDIM.
        """
        x, level = self.space.encode(pictures), None
        for t in self._times[: self.level]:
            at = self._times[0] if level is None else level
            _, noise = self.schedule.estimates(x, self.output(x, at), at)
            further = self._further(x, noise, level, t)
            for _ in range(refinements):
                _, noise = self.schedule.estimates(further, self.output(further, t), t)
                further = self._further(x, noise, level, t)
            x, level = further, t
        return self.joined(x)

    def _further(self, x: Tensor, noise: Tensor, level: int | None, t: int) -> Tensor:
        """Go from a level up to t with the noise that lies in both."""
        alpha_bar = self.schedule.alpha_bar(level, x)
        x0 = (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        return self.schedule.noised(x0, noise, t)


def feature_block(unet: nn.Module, side: int | None, places: tuple[int, int]) -> nn.Module:
    """Return the block whose features are compared.

    Args:
        unet: The U-Net.
        side: Height of its output in places; the first block on the way up that has it. None for
            the last but one block, as published (Shi et al. 2024, section 4.1: the third of four).
        places: (h, w) of the U-Net's input.

    Raises:
        UserError: If there is none of that size.
    """
    blocks: list[nn.Module] = list(cast(Any, unet).up_blocks)
    if side is None:
        return blocks[max(0, len(blocks) - 2)]
    height, sides = places[0] // 2 ** (len(blocks) - 1), []
    for block in blocks:
        height *= 2 if getattr(block, "upsamplers", None) else 1
        sides.append(height)
    if side not in sides:
        choice = ", ".join(map(str, dict.fromkeys(sides)))
        raise UserError(f"{side}: this model has {choice}", "feature_resolution")
    return blocks[sides.index(side)]
