"""Pictures as binary messages: a small header, and the bytes of a picture file.

Small pictures travel without loss, larger ones as JPEG: at 512 px that takes a millisecond where a
PNG takes eighty.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from framework.media.draw import rgb

HEADER = struct.Struct("<4sIIHH")  # magic, number, step, width, height
MAGIC = b"DRAG"
LOSSLESS_PX = 160  # longer side
JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way to a page.

    Args:
        picture: The picture, uint8 (H, W, C).
        step: Step of the drag that it belongs to.
    """

    picture: np.ndarray
    step: int

    def to_bytes(self, number: int) -> bytes:
        """Return the binary message; `number` is what the page acknowledges."""
        height, width = self.picture.shape[:2]
        header = HEADER.pack(MAGIC, number % 2**32, self.step % 2**32, width, height)
        return header + encode(self.picture)


def encode(picture: np.ndarray) -> bytes:
    """Return a picture as a file's bytes: PNG if it is small, else JPEG without thinned colours."""
    buffer = io.BytesIO()
    image = Image.fromarray(rgb(picture))
    if max(picture.shape[:2]) <= LOSSLESS_PX:
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
