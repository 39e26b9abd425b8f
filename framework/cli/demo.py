"""`edit.py demo`: a drag to look at, with nothing to fill in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Show:
    """A drag that shows well: a shipped model, a seed and points."""

    model: str
    seed: int
    points: str


# Chosen by eye on the shipped weights: a part that is plain to see, pulled where it can go.
SHOWS = (Show("toycars64", 8, "48,20:54,20"), Show("vehicles64", 30, "40,13:46,16"))


def demo(out: str = "out/demo", device: str = "auto") -> None:
    """Drag a car of a shipped model and say where the pictures and the video are.

    OUT gets a number if it already holds something, so that it can be run again and again.

    Examples::

      python edit.py demo
      python edit.py demo --out out/first --device cpu

    Args:
        out: Folder for a sub-folder per shipped model.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from framework.cli.common import numbered_folder
    from framework.cli.drag import drag
    from framework.errors import UserError
    from framework.formats import zoo_models

    here = set(zoo_models())
    shows = [show for show in SHOWS if show.model in here]
    if not shows:
        raise UserError("no model came with this copy; train one, see python train.py --help")
    folder = numbered_folder(out)
    for show in shows:
        place = folder / show.model
        print(f"{show.model}, seed {show.seed}, {show.points}")
        drag(
            out=str(place),
            model=show.model,
            seed=show.seed,
            points=show.points,
            gif=True,
            wandb="disabled",
            device=device,
        )
    print("\nlook at:")
    for show in shows:
        print(f"  {folder / show.model / 'side_by_side.png'}")
        print(f"  {folder / show.model / 'drag.mp4'}")
