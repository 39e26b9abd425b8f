"""Invert a photograph into a model, and save the result with a picture beside it.

python examples/invert.py car.jpg vehicles64 out/car.inv.safetensors
"""

import sys
from pathlib import Path

from framework import (
    InversionSettings,
    InvertedImage,
    RefineSettings,
    TuneSettings,
    choose_distance,
    invert,
    load_discriminator,
    load_generator,
    to_float,
    to_uint8,
)
from framework.compositing.geometry import fit_geometry, to_canvas
from framework.media.draw import rgb, titled
from framework.media.images import read_image, save_png
from framework.models.digest import state_digest

SETTINGS = InversionSettings(refine=RefineSettings(steps=150), tune=TuneSettings(steps=50))


def main(photo: str, model: str = "vehicles64", out: str = "out/car.inv.safetensors") -> None:
    """Invert, print how it goes, and write the inverted image with a picture beside it."""
    generator = load_generator(model)
    distance, _ = choose_distance("dfeat", load_discriminator(model))
    pixels = read_image(photo)
    geometry = fit_geometry(pixels.shape[:2], generator.img_size)
    canvas = to_canvas(pixels, geometry)

    # With an encoder the start is nearer: encoder=build_encoder(load_encoder_parts(model), …).
    for step in invert(generator, to_float(canvas[None]), distance, SETTINGS):
        if step.step % 25 == 0 or step.status != "running":
            print(f"{step.stage} {step.step}: loss {step.best_loss.item():.4f}")

    image = InvertedImage(
        ws=step.ws,
        generator_digest=state_digest(generator),
        model_name=model,
        geometry=geometry,
        noise=step.noise_of(0),
        deltas=step.deltas,
        settings=SETTINGS.to_dict(),
        photo={"name": Path(photo).name},
    )
    picture = Path(out).with_suffix(".png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    image.save(out)
    reconstruction = rgb(to_uint8(image.render(generator))[0])
    save_png(picture, titled([canvas, reconstruction], ["photo", "reconstruction"]))
    print(out, picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
