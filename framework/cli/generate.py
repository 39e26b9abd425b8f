"""`edit.py generate`: pictures from seeds."""

from pathlib import Path

from framework.errors import UserError


def generate(
    model: str,
    seeds: str,
    out: str,
    psi: float = 0.7,
    grid: bool = False,
    columns: int | None = None,
    class_: int | None = None,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Draw pictures from seeds.

    Writes OUT/seed0007.png for every seed, and OUT/grid.png of all of them if asked.

    Examples::

      python edit.py generate --model toycars64 --seeds 1-16 --grid --out out/cars
      python edit.py generate --model runs/00003-cars/model --seeds 1,2,5-10 --psi 1 --out out/ten

    Args:
        model: Zoo name, model folder or file: .safetensors, run .ckpt, another program's .pkl or
            .pt.
        seeds: Numbers and ranges, such as 1,2,5-10.
        out: New or empty folder.
        psi: Truncation: 1 the full variety, 0 the average picture.
        grid: Also write all pictures on one sheet.
        columns: Pictures per row of the sheet; about as many as rows by default.
        class_: Class of a model trained with labels, counted from 0.
        json: End with one line of JSON for scripts.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    from framework.cli.common import open_generator, parse_seeds, print_json, render, seed_latents
    from framework.files import check_new_folder, new_folder

    numbers = parse_seeds(seeds)
    if columns is not None and columns < 1:
        raise UserError(f"--columns {columns}: give 1 or more")
    check_new_folder(out)
    generator = open_generator(model, device)
    # The first picture is drawn before the folder is made: a wrong --class leaves nothing behind.
    first = render(generator, seed_latents(generator, numbers[0], psi, class_))
    folder = new_folder(out)
    from framework.media.images import save_png

    pictures, files = [], []
    for seed in numbers:
        picture = first
        if seed != numbers[0]:
            picture = render(generator, seed_latents(generator, seed, psi, class_))
        save_png(folder / f"seed{seed:04d}.png", picture)
        files.append(f"seed{seed:04d}.png")
        if grid:
            pictures.append(picture)
    if grid:
        _save_grid(folder / "grid.png", pictures, columns)
        files.append("grid.png")
    print(f"{len(numbers)} pictures in {folder}" + (", all on grid.png" if grid else ""))
    if json:
        print_json({"seeds": numbers, "psi": psi, "files": [str(folder / name) for name in files]})


def _save_grid(path: Path, pictures: list, columns: int | None) -> None:
    import numpy as np

    from framework.media.images import grid, save_png

    save_png(path, grid(np.stack(pictures), columns or int(np.ceil(np.sqrt(len(pictures))))))
