"""Give a photograph the manner of another picture.

python examples/style.py photo.jpg painting.jpg out/styled.png
"""

import sys
from pathlib import Path

from framework.compositing.photograph import Photograph
from framework.models.features.lite0 import load_lite0
from framework.models.features.weights import LITE0, find_weights
from framework.style.settings import StyleNetworks, StyleSettings
from framework.style.styling import Styling

SETTINGS = StyleSettings(work_px=384)


def main(
    photo: str = "photo.jpg", style: str = "painting.jpg", out: str = "out/styled.png"
) -> None:
    """Write the photograph in the style."""
    weights = find_weights(LITE0)
    if weights is None:
        raise SystemExit(f"{LITE0.name} is not installed: {LITE0.install}")
    styling = Styling(Photograph.read(photo), Photograph.read(style), SETTINGS)
    for step in styling.steps(StyleNetworks(load_lite0(weights).rectified)):
        print(f"\r{step.stage}: {step.step} of {step.steps}", end="", file=sys.stderr)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    styling.styled(step).save(out)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
