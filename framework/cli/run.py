"""Where `framework.command_line` used to be."""

from framework.command_line import TORCHVISION_MISMATCH as TORCHVISION_MISMATCH
from framework.command_line import run as run
