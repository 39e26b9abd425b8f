"""Networks that fill holes on the disk: a folder with `config.json` and `filler.safetensors`."""

from framework.formats.network_folder import NetworkFolder
from framework.models.filling.network import HoleFiller

FILLERS = NetworkFolder(
    "filler", "no network that fills holes", HoleFiller.from_config, "dragline-filler"
)
WEIGHTS, save_filler, load_filler = FILLERS.weights, FILLERS.save, FILLERS.load
