"""A photograph with all that its file says, and the same photograph with an edit in its place.

What a model sees of it is 8-bit sRGB on white, and what the model makes is turned back into the
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
from framework.media.images import MAX_PIXELS, open_plain, read_bytes
from framework.media.modes import WHITE, eight_bit

_GREY_LEVELS = 3  # of 255: what channels differ less, nobody sees as a tint
_SPACES = {"GRAY": "L", "RGB ": "RGB"}  # a profile's word for its colours -> Pillow's
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
        levels: (h, w, C): uint8 with 1 (grey), 2 (grey and alpha), 3 or 4 channels, or uint16 of 1.
        white: The level of white; 255 for uint8.
        profile: ICC profile of the colours; None for sRGB.
        exif: What the camera wrote, without the orientation.
        dpi: Dots an inch, across and down.
        notes: What reading had to do.
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
            ImageRefused: As `framework.media.images.decode`.
        """
        return cls.decode(read_bytes(path), str(path), max_pixels)

    @classmethod
    def decode(cls, data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> "Photograph":
        """The same of a file's bytes, called `name` in complaints."""
        opened = open_plain(data, name, max_pixels)
        levels = np.array(opened.image)
        info, notes = opened.image.info, list(opened.notes)
        profile = info.get("icc_profile") or None
        if profile and opened.mode in ("CMYK", "LAB", "YCbCr"):
            profile = None  # of colours that are no more
        photograph = cls(
            levels.reshape(*levels.shape[:2], -1), opened.white, profile, info.get("exif", b""),
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
        """How opaque it is, uint8 (h, w, 1); None where it all is."""
        return self.levels[..., -1:] if self.levels.shape[2] in (2, 4) else None

    @cached_property
    def is_grey(self) -> bool:
        """Whether it shows no colour, however many channels it has."""
        if self.levels.shape[2] < 3:
            return True
        colours = self._on_white()  # what is hidden there does not count
        return _channels_agree(colours[::16, ::16]) and _channels_agree(colours)

    def shown(self) -> np.ndarray:
        """What a viewer shows that ignores colour profiles: uint8 (h, w, 3), on white."""
        picture = self._on_white()
        if picture.dtype != np.uint8:
            picture = np.asarray(eight_bit(Image.fromarray(picture[..., 0]), self.white))[..., None]
        return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture

    def canvas(self, geometry: Geometry, channels: int) -> np.ndarray:
        """What a model sees of it: uint8 (H, W, channels), sRGB.

        Args:
            geometry: Where it lies.
            channels: 1 (grey), 3, or 4 (with its transparency; others have it on white).
        """
        if channels == 4 and self.alpha is not None:
            colours = Image.fromarray(self.levels).convert("RGBA")
            seen = to_canvas(np.array(colours), geometry)
            return np.dstack([self._to_srgb(seen[..., :3]), seen[..., 3]])
        seen = self._to_srgb(to_canvas(self.shown(), geometry))
        if channels == 4:
            return np.dstack([seen, np.full(seen.shape[:2], WHITE, np.uint8)])
        return _grey(seen) if channels == 1 else seen

    def pasted(
        self,
        edited: np.ndarray,
        geometry: Geometry,
        *,
        original: np.ndarray | None = None,
        changed_only: bool = False,
        seam: Seam = "feather",
    ) -> "Photograph":
        """The photograph with an edit in its place; arguments as of `paste_back`.

        Args:
            edited: The model's picture after the edit, uint8 (H, W, 1, 3 or 4) in sRGB.
            geometry: Where it lies.
            original: Before the edit.
            changed_only: Paste only where they differ.
            seam: How the edit meets the rest.
        """

        def paste(plane: np.ndarray, part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
            before = None if original is None else part(original)
            return paste_back(
                plane, part(edited), geometry, original=before, changed_only=changed_only,
                seam=seam, white=self.white,
            )  # fmt: skip

        whole = self._on_white()
        colours, alpha = paste(whole, self._in_own_colours), self.alpha
        if alpha is None:
            return replace(self, levels=colours)
        left, top, right, bottom = photo_box(geometry)
        box = np.s_[top:bottom, left:right]  # the rest stays, and large photographs fit in memory
        levels = self.levels.copy()
        if edited.shape[2] < 4:
            # At a soft edge the model blurs the subject into white: the less it shows, the less of
            # the edit is taken, or a dark rim would remain.
            change = colours[box].astype(np.float32) - whole[box]
            made = levels[box][..., :-1] + change * (alpha[box] / np.float32(WHITE))
        else:
            cut = paste(alpha, lambda canvas: canvas[..., 3:])[box]
            shows = ((colours[box] != whole[box]) | (cut != alpha[box])) & (cut > 0)
            opaque = np.maximum(cut, 1) / np.float32(WHITE)
            # What is seen on white is opaque * colour + (1 - opaque) * white.
            uncovered = (colours[box] - (1 - opaque) * WHITE) / opaque
            made = np.where(shows, uncovered, levels[box][..., :-1])
            levels[box][..., -1:] = cut
        levels[box][..., :-1] = np.rint(made).clip(0, WHITE)
        return replace(self, levels=levels)

    def shrunk(self, geometry: Geometry, longest_px: int) -> "tuple[Photograph, Geometry]":
        """The photograph in 8-bit sRGB, its longer side at most so long; where the canvas lies."""
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
        """Write a PNG, JPEG or WebP, by the name's ending, with profile, EXIF and dots an inch.

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

    def _on_white(self) -> np.ndarray:
        """Its colours as seen on white, (h, w, 1 or 3), in its own depth and colour space."""
        alpha = self.alpha
        if alpha is None:
            return self.levels
        image = Image.fromarray(self.levels).convert("RGBA")
        sheet = Image.new("RGBA", image.size, (WHITE,) * 4)
        seen = np.array(Image.alpha_composite(sheet, image).convert("RGB"))
        return seen[..., : self.levels.shape[2] - 1]

    def _in_own_colours(self, canvas: np.ndarray) -> np.ndarray:
        """A model's picture, uint8 (H, W, 1, 3 or 4) in sRGB, as pixels like the photograph's."""
        from framework.media.draw import rgb

        picture = self._from_srgb(rgb(canvas))
        channels = 1 if self.levels.shape[2] < 3 else 3
        return np.repeat(_grey(picture), channels, axis=2) if self.is_grey else picture

    @cached_property
    def _space(self) -> tuple[ImageCms.ImageCmsProfile, str] | None:
        """The profile and the mode of its colours; None where there is none that can be used."""
        if self.profile is None:
            return None
        try:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(self.profile))
            mode = _SPACES.get(getattr(opened.profile, "xcolor_space", ""))
            if mode is None or (mode == "L" and self.levels.shape[2] > 2):
                return None
            ImageCms.buildTransform(opened, _SRGB, mode, "RGB")
            ImageCms.buildTransform(_SRGB, opened, "RGB", mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return None
        return opened, mode

    def _to_srgb(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) in the photograph's colour space."""
        if self._space is None:
            return picture
        profile, mode = self._space
        return _converted(Image.fromarray(picture).convert(mode), profile, _SRGB, "RGB")

    def _from_srgb(self, picture: np.ndarray) -> np.ndarray:
        if self._space is None:
            return picture
        profile, mode = self._space
        made = _converted(Image.fromarray(picture), _SRGB, profile, mode)
        return np.repeat(made[..., None], 3, axis=2) if mode == "L" else made


_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(image: Image.Image, of: Any, to: Any, mode: str) -> np.ndarray:
    converted = ImageCms.profileToProfile(
        image, of, to, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode=mode
    )
    assert converted is not None
    return np.array(converted)


def _grey(picture: np.ndarray) -> np.ndarray:
    """Luminance (H, W, 1) of a picture (H, W, 3)."""
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[..., None]


def _channels_agree(levels: np.ndarray) -> bool:
    return int((levels.max(axis=2) - levels.min(axis=2)).max()) <= _GREY_LEVELS


def _dots(dpi: Any) -> tuple[float, float] | None:
    """Dots an inch as writers take them; None for what is none."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None
