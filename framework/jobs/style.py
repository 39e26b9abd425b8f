"""A photograph in the manner of another picture."""

from framework.compositing.photograph import Photograph
from framework.errors import UserError, blame
from framework.files import check_new_folder, new_folder
from framework.formats.decoder_folder import DECODERS
from framework.jobs.fill import SHEET, CompositeOutcome, last_of, panels
from framework.jobs.models import pick_device
from framework.jobs.requests.compositing import StyleRequest
from framework.jobs.watcher import SILENT, Watcher
from framework.media.draw import titled
from framework.media.images import printable, save_png
from framework.models.features.lite0 import EfficientNetLite0, load_lite0
from framework.models.features.weights import LITE0, find_weights
from framework.models.style.network import StyleDecoder
from framework.style.settings import StyleNetworks, StyleSettings
from framework.style.styling import Styling

STYLED = "styled.png"


def style(request: StyleRequest, watcher: Watcher = SILENT) -> CompositeOutcome:
    """Give a photograph a style, write it and a sheet of before and after.

    Raises:
        UserError: Naming the field, if anything does not fit; then nothing is left behind.
    """
    check_new_folder(request.out)
    device = pick_device(request.device)
    photo, of = (_read(file, watcher) for file in (request.content, request.style))
    settings = StyleSettings(request.method, request.strength, request.steps, request.work)
    styling = Styling(photo, of, settings)
    if photo.levels.shape[2] < 3:
        watcher.note(f"{printable(request.content)}: a grey file stays grey")
    if styling.work_size != photo.size:
        (height, width), (rows, columns) = photo.size, styling.work_size
        size = f"{width}x{height} px, worked on at {columns}x{rows}"
        watcher.note(f"{printable(request.content)}: {size}")
    decoder = None if request.decoder is None else _decoder(request.decoder).to(device)
    steps = styling.steps(StyleNetworks(_features().to(device).rectified, decoder), device)
    last, seconds, stop = last_of(steps, watcher)
    styled = styling.styled(last)
    folder = new_folder(request.out)
    styled.save(folder / STYLED)
    shown = panels(photo.shown(), of.shown(), styled.shown())
    save_png(folder / SHEET, titled(shown, ["photograph", "style", "styled"]))
    return CompositeOutcome(
        method=request.method, size=photo.size, status="interrupted" if stop else "done",
        steps=last.step, seconds=seconds, stop=stop,
        files=[str(folder / name) for name in (STYLED, SHEET)],
    )  # fmt: skip


def _read(file: str, watcher: Watcher) -> Photograph:
    photo = Photograph.read(file)
    for note in photo.notes:
        watcher.note(f"{printable(file)}: {note}")
    return photo


def _decoder(folder: str) -> StyleDecoder:
    with blame("decoder", folder):
        return DECODERS.load(folder)


def _features() -> EfficientNetLite0:
    """Load the network whose features hold a style.

    Raises:
        UserError: If its weights are not installed.
    """
    weights = find_weights(LITE0)
    if weights is None:
        raise UserError(f"style needs {LITE0.name}, which is not installed: {LITE0.install}")
    return load_lite0(weights)
