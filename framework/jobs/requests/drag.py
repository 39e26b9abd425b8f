"""What a person asks of a drag. Needs no torch."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from framework.dashboard import WandbMode
from framework.errors import UserError
from framework.fields import Shown
from framework.jobs.requests.framing import FRAMING, Framing

OnBad = Literal["skip", "error"]
Preset = Literal[
    "auto",
    "draggan",
    "small",
    "dragline",
    "freedrag",
    "official",
    "latent-transformer",
    "warp",
    "dragdiffusion",
    "diffusion",
]
PointsIn = Literal["model", "photo"]
Paste = Literal["changed", "box", "none"]
Seam = Literal["feather", "gradient", "hard"]
STARTS = ("seed", "image", "ws", "edit", "tasks")
OF_PHOTOGRAPHS = ("stages", *FRAMING)  # how a photograph is put into the model


@dataclass(frozen=True, kw_only=True)
class DragRequest(Framing):
    """One drag: where it starts, what is pulled, how, and what is written; or a file of drags.

    Args:
        out: New or empty folder.
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt; with `edit` by default the edit's, with an inverted image the image's.
        seed: Seed of the picture.
        points: Handles and targets "x,y:x,y;x,y:x,y" in image pixels, origin top left, x to the
            right, y down.
        image: Photograph, NAME.inv.safetensors (or the folder that invert wrote), or another
            program's latents: .pt, .npz, .npy, .safetensors.
        pick: Which picture of a file with several latents: its name or its number, counted from 0;
            the last by default.
        ws: Latents, whatever the file is called: as image takes them, or the last of an edit.
        edit: edit.safetensors to continue; with `points`, from its last picture with other points.
        at: Continue the edit from this step, not from its last: what came after is left out.
        tasks: Many drags from a file, a JSON object a line: {"seed": 8, "points": "48,20:54,20"};
            in the place of seed also image (as `image`), edit or ws (latents), with pick and box;
            and name, mask. Each gets its own folder in OUT; OUT/results.jsonl has them all.
        on_bad: Rows of tasks that cannot be done: skip names them all and does the others, error
            names them all and does nothing. The exit code is 2 in both cases.
        mask: Picture of the model's size; what is painted white in it may change, what is black or
            transparent stays. Everything may by default.
        points_in: Whose pixels points and mask are in: the model's picture's, or the photograph's.
        paste: What of the edit goes back into the photograph: changed, only where it differs; box,
            all that the model sees; none, no pasted.png.
        photo: Photograph of an inverted image, where it does not lie beside it.
        stages: Of embed,refine,tune, which a photograph goes through; all by default.
        crop: How a photograph gets the shape of the model's pictures, see invert; center by
            default.
        box: Part of a photograph to use, "left,top,right,bottom" in its pixels, upright.
        rotate: Degrees by which a photograph is turned counter-clockwise, see invert.
        align: Two points of a photograph, "x,y:x,y", laid where `align_to` says, see invert.
        align_to: Two points "x,y:x,y" of the model's picture, see invert.
        seam: How the edit meets the photograph: feather fades, gradient shifts colours until they
            agree, hard does neither.
        psi: Truncation of the seed's picture: 1 the full variety, 0 the average picture.
        class_: Class of a model trained with labels, counted from 0.
        prompt: Text of the picture, for diffusion models that take one.
        preset: Settings: few steps (dragline, which auto takes), as published (draggan), as
            published but for small pictures (small), by a network that was trained for the model
            (latent-transformer), by moving pixels that the model then redraws (warp), as FreeDrag
            has them (freedrag), or as the public code of DragGAN does it (official), for
            comparison; of diffusion models as published (dragdiffusion), or for small pictures
            (diffusion, which auto takes).
        config: YAML file with settings, such as configs/edit/drag/draggan.yaml; in place of a
            preset.
        steps: Steps at most; overrides the preset's.
        lr: Step size of Adam on the latents; overrides the preset's.
        mask_weight: How hard the mask may pull, as a share of the points' own pull; overrides the
            preset's.
        space: w+ moves the latents of the coarse layers each on its own, w all by one common
            vector; overrides the preset's.
        video: Write drag.mp4.
        gif: Write drag.gif, too.
        wandb: auto is what WANDB_MODE says, else online where somebody is logged in, else offline.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    out: Annotated[str, Shown("PATH")]
    model: Annotated[str | None, Shown("MODEL")] = None
    seed: Annotated[int | None, Shown("N")] = None
    points: Annotated[str | None, Shown("X,Y:X,Y;…")] = None
    image: Annotated[str | None, Shown("FILE")] = None
    pick: Annotated[str | None, Shown("N|NAME")] = None
    ws: Annotated[str | None, Shown("FILE", advanced=True)] = None
    edit: Annotated[str | None, Shown("FILE")] = None
    at: Annotated[int | None, Shown("STEP")] = None
    tasks: Annotated[str | None, Shown("FILE")] = None
    on_bad: OnBad = "skip"
    mask: Annotated[str | None, Shown("PICTURE")] = None
    points_in: Annotated[PointsIn, Shown(advanced=True)] = "model"
    paste: Paste = "changed"
    photo: Annotated[str | None, Shown("PHOTO", advanced=True)] = None
    stages: Annotated[str | None, Shown("LIST")] = None
    seam: Annotated[Seam, Shown(advanced=True)] = "feather"
    psi: Annotated[float, Shown("PSI", advanced=True)] = 0.7
    class_: Annotated[int | None, Shown("N", advanced=True)] = None
    prompt: Annotated[str | None, Shown("TEXT", advanced=True)] = None
    preset: Annotated[Preset, Shown(advanced=True)] = "auto"
    config: Annotated[str | None, Shown("YAML", advanced=True)] = None
    steps: Annotated[int | None, Shown("N", advanced=True)] = None
    lr: Annotated[float | None, Shown("RATE", advanced=True)] = None
    mask_weight: float | None = None
    space: Annotated[Literal["w", "w+"] | None, Shown(advanced=True)] = None
    video: bool = True
    gif: bool = False
    wandb: Annotated[WandbMode, Shown(advanced=True)] = "auto"
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check what goes together; what a file has to be opened for is the job's to check.

        Raises:
            UserError: Naming the field that is missing, wrong or too much.
        """
        self._check_start()
        self._check_picture()
        super().__post_init__()
        if self.at is not None and self.edit is None:
            raise UserError(f"{self.at}: only with `edit`", "at")
        if self.config is not None and self.preset != "auto":
            raise UserError(f"`config` {self.config} and `preset` {self.preset}: give one of them")

    def row(self, out: str, **given: Any) -> "DragRequest":
        """The request of one row of `tasks`: what it says itself, and else what all rows have."""
        return replace(self, tasks=None, on_bad="skip", out=out, **given)

    def _check_start(self) -> None:
        starts = [name for name in STARTS if getattr(self, name) is not None]
        if len(starts) != 1:
            chosen = " and ".join(f"`{name}`" for name in starts) or "none"
            raise UserError(
                "give one of `seed`, `image`, `ws`, `edit` and `tasks` to start from;"
                f" {chosen} given"
            )
        (start,) = starts
        if start in ("seed", "ws", "tasks") and self.model is None:
            raise UserError(": give a zoo name, a model folder or a file", "model")
        if start in ("seed", "image", "ws") and self.points is None:
            raise UserError(': give "x,y:x,y", what to take hold of and where to pull it', "points")
        for name in ("points", "mask") if start == "tasks" else ():
            if getattr(self, name) is not None:
                raise UserError(f"{getattr(self, name)}: stands in the rows of the tasks", name)

    def _check_picture(self) -> None:
        """Refuse what is about a picture's file where there is none."""
        for name in (*OF_PHOTOGRAPHS, "photo", "pick"):
            value = getattr(self, name)
            of_rows = self.tasks is not None and name not in ("photo", "pick")
            of_edit = self.edit is not None and name == "photo"
            of_latents = self.ws is not None and name == "pick"
            if value is None or self.image is not None or of_rows or of_edit or of_latents:
                continue
            text = "only with `image`" if self.tasks is None else "stands in the rows of the tasks"
            raise UserError(f"{value}: {text}", name)
