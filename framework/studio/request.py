"""What a person asks of the studio. Needs neither torch nor the web server."""

from dataclasses import dataclass
from typing import Annotated

from framework.errors import UserError
from framework.fields import Shown

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class StudioRequest:
    """A page to be served.

    Args:
        model: Model that the page opens first: zoo name, model folder or file. The shipped models
            are always there.
        models: Folder whose model folders and model files the page offers, too.
        runs: Folder of a training run, or of several, to be watched on a page of its own; their
            snapshots are offered as models.
        directions: File of `model`'s directions, as directions writes it, or rosinality's
            factor.pt; by default the model folder's own directions.safetensors.
        text_encoder: File or folder of `model`'s text encoder, as training writes it; by default
            the model folder's own text.safetensors.
        host: Address to listen on. Any other than this machine's own needs the token that is
            printed with the page's address.
        port: Port to listen on; 0 takes a free one.
        open: Open the page in this machine's browser.
        sessions: Pages that may work at the same time.
        device: auto, cpu, cuda, cuda:1 or mps.
    """

    model: Annotated[str | None, Shown("MODEL")] = None
    models: Annotated[str | None, Shown("FOLDER")] = None
    runs: Annotated[str | None, Shown("FOLDER")] = None
    directions: Annotated[str | None, Shown("FILE")] = None
    text_encoder: Annotated[str | None, Shown("FILE")] = None
    host: Annotated[str, Shown("ADDRESS", advanced=True)] = "127.0.0.1"
    port: Annotated[int, Shown("N")] = 8000
    open: bool = False
    sessions: Annotated[int, Shown("N", advanced=True)] = 8
    device: Annotated[str, Shown("DEVICE", advanced=True)] = "auto"

    def __post_init__(self) -> None:
        """Check the numbers, and what goes together.

        Raises:
            UserError: Naming the field.
        """
        if not 0 <= self.port <= 65535:
            raise UserError(f"{self.port}: give a port from 0 (any free one) to 65535", "port")
        if not 1 <= self.sessions <= 64:
            raise UserError(f"{self.sessions}: give 1 to 64", "sessions")
        for name in ("directions", "text_encoder"):
            if getattr(self, name) is not None and self.model is None:
                raise UserError(f"{getattr(self, name)}: of which model? Give `model`", name)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOOPBACK
