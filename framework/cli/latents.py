"""`edit.py latents`: latents from and to the files of other programs."""

from framework.cli.terminal import Terminal
from framework.errors import spoken
from framework.jobs.requests.files import LatentsRequest


def latents(request: LatentsRequest, terminal: Terminal, json: bool = False) -> None:
    """Write latents as a file that another program opens.

    Reads inverted images, DragGAN's .pt, NVIDIA's projected_w.npz, pSp's and e4e's latents.pt, .npy
    and .npz arrays, safetensors with `ws`, ReStyle's latents.npy and other pickled tables by
    picture, folders of one .pt for each picture as PTI keeps them, and edits (their last picture);
    nothing in a file is run. Latents mean something only together with the model they were made
    with. Where an inverted image was tuned, that is the model with its changes, which --model-out
    writes.

    Examples::

      python edit.py latents out/car/car.inv.safetensors --to draggan --out out/car.pt
      python edit.py latents projected_w.npz --to dragline --out out/car.safetensors
      python edit.py latents out/car/car.inv.safetensors --to npy --out car.npy --model-out tuned

    Args:
        json: End with one line of JSON: file, to, shape, sha256, model, notes.
    """
    from framework.jobs.latents import convert

    outcome = convert(request)
    notes = [spoken(note, terminal.flags) for note in outcome.notes]
    print(f"{outcome.file}: {' x '.join(map(str, outcome.shape))} latents")
    for note in notes:
        print(f"note: {note}")
    if json:
        terminal.json({**outcome.to_dict(), "notes": notes})
