"""A photograph with all data of its file, and the same photograph with an edit pasted in.

A model gets it as 8-bit sRGB on white, and the model's picture is converted back into the
photograph's own kind of pixels before it is pasted: grey stays grey, 16 bits stay 16, transparency
and the colour profile stay.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from framework.compositing.geometry import Geometry, photo_box, to_canvas
from framework.compositing.paste import Seam, paste_back
from framework.compositing.resample import composed
from framework.files import whole_file
from framework.media.draw import rgb
from framework.media.images import MAX_PIXELS, open_plain, read_bytes
from framework.media.modes import WHITE, eight_bit

_GREY_LEVELS = 3  # of 255: a smaller difference of channels is not visible as a tint
_SPACES = {"GRAY": "L", "RGB ": "RGB"}  # a profile's name of its colours -> Pillow's
_SAVED_AS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True}),
}


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph as its file has it, upright.

    Args:
        levels: Pixels (h, w, C), uint8 with 1 (grey), 2 (grey and alpha), 3 or 4 channels, or
            uint16 with 1.
        white: Level of white; 255 for uint8.
        profile: ICC profile of the colours; None for sRGB.
        exif: Camera data, without the orientation.
        dpi: Dots per inch, across and down.
        notes: Changes that reading made.
    """

    levels: np.ndarray
    white: int = WHITE
    profile: bytes | None = None
    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: str | Path, max_pixels: int = MAX_PIXELS) -> "Photograph":
        """Read a picture file of unknown origin.

        Raises:
            ImageRefused: As in `framework.media.images.decode`.
        """
        return cls.decode(read_bytes(path), str(path), max_pixels)

    @classmethod
    def decode(cls, data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> "Photograph":
        """Decode a file's bytes, called `name` in messages."""
        source = open_plain(data, name, max_pixels)
        levels = np.array(source.image)
        info, notes = source.image.info, list(source.notes)
        profile = info.get("icc_profile") or None
        if profile and source.mode in ("CMYK", "LAB", "YCbCr"):
            profile = None  # its colours were converted
        photograph = cls(
            levels.reshape(*levels.shape[:2], -1), source.white, profile, info.get("exif", b""),
            _dots(info.get("dpi")), tuple(notes),
        )  # fmt: skip
        if profile and photograph._space is None:
            note = "its colour profile cannot be used; numbers are taken as sRGB"
            return replace(photograph, notes=(*notes, note))
        return photograph

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.levels.shape[0], self.levels.shape[1]

    @property
    def alpha(self) -> np.ndarray | None:
        """The opacity, uint8 (h, w, 1); None if all is opaque."""
        return self.levels[..., -1:] if self.levels.shape[2] in (2, 4) else None

    @cached_property
    def is_grey(self) -> bool:
        """Whether it shows no colour, however many channels it has."""
        if self.levels.shape[2] < 3:
            return True
        colours = self.on_white_levels()  # hidden colours do not count
        return _channels_agree(colours[::16, ::16]) and _channels_agree(colours)

    def shown(self) -> np.ndarray:
        """Return the view of a program that ignores colour profiles: uint8 (h, w, 3), on white."""
        picture = self.on_white_levels()
        if picture.dtype != np.uint8:
            picture = np.asarray(eight_bit(Image.fromarray(picture[..., 0]), self.white))[..., None]
        return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture

    def on_white_levels(self) -> np.ndarray:
        """Return its colours on white, (h, w, 1 or 3), in its own depth and colour space."""
        alpha = self.alpha
        if alpha is None:
            return self.levels
        image = Image.fromarray(self.levels).convert("RGBA")
        sheet = Image.new("RGBA", image.size, (WHITE,) * 4)
        picture = np.array(Image.alpha_composite(sheet, image).convert("RGB"))
        return picture[..., : self.levels.shape[2] - 1]

    def canvas(self, geometry: Geometry, channels: int) -> np.ndarray:
        """Return a model's view of it: uint8 (H, W, channels), sRGB.

        Args:
            geometry: Place of the photograph on the canvas.
            channels: 1 (grey), 3, or 4 (with transparency; otherwise it is laid on white).
        """
        if channels == 4 and self.alpha is not None:
            colours = Image.fromarray(self.levels).convert("RGBA")
            picture = to_canvas(np.array(colours), geometry)
            return np.dstack([self._to_srgb(picture[..., :3]), picture[..., 3]])
        picture = self._to_srgb(to_canvas(self.shown(), geometry))
        if channels == 4:
            return np.dstack([picture, np.full(picture.shape[:2], WHITE, np.uint8)])
        return _grey(picture) if channels == 1 else picture

    def pasted(
        self,
        edited: np.ndarray,
        geometry: Geometry,
        *,
        original: np.ndarray | None = None,
        changed_only: bool = False,
        seam: Seam = "feather",
        carry: bool = True,
    ) -> "Photograph":
        """Paste an edit into the photograph; arguments as in `paste_back`.

        Args:
            edited: The model's picture after the edit, uint8 (H, W, 1, 3 or 4) in sRGB.
            geometry: Place of the photograph on the canvas.
            original: The picture before the edit.
            changed_only: Whether to paste only where the two differ.
            seam: Transition from the edit to the rest.
            carry: Whether what has moved takes the photograph's detail along.
        """

        def paste(plane: np.ndarray, part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            before = None if original is None else part(original)
            return paste_back(
                plane, part(edited), geometry, original=before, changed_only=changed_only,
                seam=seam, white=self.white, carry=carry,
            )  # fmt: skip

        whole = self.on_white_levels()
        colours, alpha = paste(whole, self._in_own_colours), self.alpha
        if alpha is None:
            return replace(self, levels=colours)
        left, top, right, bottom = photo_box(geometry)
        box = np.s_[top:bottom, left:right]  # the rest stays, and large photographs fit in memory
        levels = self.levels.copy()
        if edited.shape[2] < 4:
            # At a soft edge the model blurs the subject into white: the less opaque a pixel is, the
            # less of the edit it gets, or a dark rim would remain.
            change = colours[box].astype(np.float32) - whole[box]
            blended = levels[box][..., :-1] + change * (alpha[box] / np.float32(WHITE))
        else:
            cut = paste(alpha, lambda canvas: canvas[..., 3:])[box]
            shows = ((colours[box] != whole[box]) | (cut != alpha[box])) & (cut > 0)
            opaque = np.maximum(cut, 1) / np.float32(WHITE)
            # On white a pixel is opaque * colour + (1 - opaque) * white.
            uncovered = (colours[box] - (1 - opaque) * WHITE) / opaque
            blended = np.where(shows, uncovered, levels[box][..., :-1])
            levels[box][..., -1:] = cut
        levels[box][..., :-1] = np.rint(blended).clip(0, WHITE)
        return replace(self, levels=levels)

    def shrunk(self, geometry: Geometry, longest_px: int) -> "tuple[Photograph, Geometry]":
        """Shrink photograph and geometry to a longer side of `longest_px`, in 8-bit sRGB."""
        colours = self.shown() if self.alpha is None else self.levels
        image = Image.fromarray(colours).convert("RGB" if self.alpha is None else "RGBA")
        factor = min(1.0, longest_px / max(image.size))
        width, height = (max(1, round(side * factor)) for side in image.size)
        small = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
        small[..., :3] = self._to_srgb(np.ascontiguousarray(small[..., :3]))
        x, y = self.size[1] / width, self.size[0] / height
        back = ((x, 0.0, (x - 1) / 2), (0.0, y, (y - 1) / 2))
        affine = composed(geometry.affine, back)
        return Photograph(small), replace(geometry, photo_size=(height, width), affine=affine)

    def save(self, path: str | Path) -> None:
        """Write a PNG, JPEG or WebP, by the name's ending, with profile, EXIF and dots per inch.

        PNG keeps every pixel to the bit; JPEG and WebP hold 8 bits, and JPEG no transparency.
        """
        file_format, options = _SAVED_AS[Path(path).suffix.lower()]
        levels = self.levels
        if (file_format != "PNG" and levels.dtype != np.uint8) or file_format == "JPEG":
            levels = self.shown()[..., : 1 if levels.shape[2] < 3 else 3]
        flat = levels[..., 0] if levels.shape[2] == 1 else levels
        facts = {"icc_profile": self.profile, "exif": self.exif, "dpi": self.dpi}
        buffer = io.BytesIO()
        Image.fromarray(flat).save(
            buffer, file_format, **options, **{name: fact for name, fact in facts.items() if fact}
        )
        with whole_file(path) as temporary:
            temporary.write_bytes(buffer.getvalue())

    # ----------------------------------------------------------------------------------- colours

    def _in_own_colours(self, canvas: np.ndarray) -> np.ndarray:
        """Convert a model's picture, uint8 (H, W, 1, 3 or 4) in sRGB, to pixels of this kind."""
        picture = self._from_srgb(rgb(canvas))
        channels = 1 if self.levels.shape[2] < 3 else 3
        return np.repeat(_grey(picture), channels, axis=2) if self.is_grey else picture

    @cached_property
    def _space(self) -> tuple[ImageCms.ImageCmsProfile, str] | None:
        """The profile and the mode of its colours; None without a usable one."""
        if self.profile is None:
            return None
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(self.profile))
            mode = _SPACES.get(getattr(profile.profile, "xcolor_space", ""))
            if mode is None or (mode == "L" and self.levels.shape[2] > 2):
                return None
            ImageCms.buildTransform(profile, _SRGB, mode, "RGB")
            ImageCms.buildTransform(_SRGB, profile, "RGB", mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return None
        return profile, mode

    def _to_srgb(self, picture: np.ndarray) -> np.ndarray:
        """Convert a picture (H, W, 3) from the photograph's colour space."""
        if self._space is None:
            return picture
        profile, mode = self._space
        return _converted(Image.fromarray(picture).convert(mode), profile, _SRGB, "RGB")

    def _from_srgb(self, picture: np.ndarray) -> np.ndarray:
        if self._space is None:
            return picture
        profile, mode = self._space
        pixels = _converted(Image.fromarray(picture), _SRGB, profile, mode)
        return np.repeat(pixels[..., None], 3, axis=2) if mode == "L" else pixels


_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(image: Image.Image, of: Any, to: Any, mode: str) -> np.ndarray:
    converted = ImageCms.profileToProfile(
        image, of, to, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode=mode
    )
    assert converted is not None
    return np.array(converted)


def _grey(picture: np.ndarray) -> np.ndarray:
    """Return the luminance (H, W, 1) of a picture (H, W, 3)."""
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[..., None]


def _channels_agree(levels: np.ndarray) -> bool:
    return int((levels.max(axis=2) - levels.min(axis=2)).max()) <= _GREY_LEVELS


def _dots(dpi: Any) -> tuple[float, float] | None:
    """Return dots per inch in the form that writers take; None if they are invalid."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None
