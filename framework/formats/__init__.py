"""Models from and to files: one door, `load_generator`, whatever the file is."""

from framework.formats.importing import ImportReport, import_model
from framework.formats.model_folder import save_model_folder
from framework.formats.opening import (
    OpenedModel,
    load_discriminator,
    load_editor,
    load_encoder_parts,
    load_generator,
    load_training_generator,
    open_model,
    zoo_models,
)
from framework.models.encoders.weights import EncoderWeights

__all__ = [
    "EncoderWeights",
    "ImportReport",
    "OpenedModel",
    "import_model",
    "load_discriminator",
    "load_editor",
    "load_encoder_parts",
    "load_generator",
    "load_training_generator",
    "open_model",
    "save_model_folder",
    "zoo_models",
]
