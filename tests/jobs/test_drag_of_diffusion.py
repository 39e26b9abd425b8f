"""The shipped diffusion model is dragged by the same request into the same files as a StyleGAN2."""

from pathlib import Path

import pytest

from framework.drag.edit_file import EditFile
from framework.jobs.drag import drag
from framework.jobs.requests.drag import DragRequest

GAN, DIFFUSION = "toycars64", "toycars64-diffusion"


def files_of(model: str, out: Path, **more) -> set[str]:
    request = DragRequest(
        model=model, seed=8, points="48,36:50,36", out=str(out), steps=1, video=False, **more
    )
    assert drag(request).steps == 1
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("preset", ["auto", "warp"])
def test_both_families_write_the_same_files(tmp_path, preset):
    made = [files_of(model, tmp_path / model, preset=preset) for model in (GAN, DIFFUSION)]
    assert made[0] == made[1] >= {"after.png", "before.png", "edit.safetensors", "stats.jsonl"}
    methods = [EditFile.load(tmp_path / m / "edit.safetensors").settings.method
               for m in (GAN, DIFFUSION)]  # fmt: skip
    assert methods == (["warp"] * 2 if preset == "warp" else ["dragline", "dragdiffusion"])
