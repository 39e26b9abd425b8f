"""Compiled operations as files: built once for each compiler, torch and processor, then reused.

A library's name holds a digest of all that it was built from and a digest of its own bytes, so it
appears whole, is never stale, and is built again if it is damaged.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from framework import files
from framework.files import open_in_place, sha256_file, whole_file

NATIVE = Path(__file__).with_name("native")
WAIT_SEC = 600.0  # longest wait for another process's build
BUILD_SEC = 600.0  # longest build of our own
_DIGITS = 16  # of a digest in a name
_CPU_FLAGS = {"AVX2": ["-march=x86-64-v3"], "AVX512": ["-march=x86-64-v4"]}


class BuildError(Exception):
    """The reason why there is no library, in one line."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a library's bytes will be.

    Attributes:
        device: `cpu` or `cuda`.
        compilers: Version texts of the compilers.
        flags: Compiler flags.
        architectures: Architectures of the GPUs at hand, as TORCH_CUDA_ARCH_LIST has them.
    """

    device: str
    compilers: tuple[str, ...]
    flags: tuple[str, ...]
    architectures: str = ""

    @property
    def sources(self) -> list[Path]:
        """The files to compile; headers lie beside them."""
        return sorted(NATIVE.glob("*.cu" if self.device == "cuda" else "*.cpp"))

    @property
    def key(self) -> str:
        """Digest of recipe, sources and torch's version."""
        digest = hashlib.sha256(f"{self}{torch.__version__}{sys.platform}".encode())
        for path in [*self.sources, *sorted(NATIVE.glob("*.h"))]:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:_DIGITS]


def recipe_for(device: str) -> Recipe:
    """Return the recipe for `device` on this machine.

    Raises:
        BuildError: If a compiler is missing.
    """
    cxx = os.environ.get("CXX", "c++")
    openmp = ("-fopenmp",) if sys.platform.startswith("linux") else ()
    if device == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        flags = ("-O3", *openmp, *_CPU_FLAGS.get(capability, []))
        return Recipe("cpu", (_version(cxx),), flags)
    nvcc = str(_cuda_home() / "bin" / "nvcc")
    capabilities = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    architectures = ";".join(f"{major}.{minor}" for major, minor in sorted(capabilities))
    return Recipe("cuda", (_version(cxx), _version(nvcc)), ("-O3",), architectures)


def _cuda_home() -> Path:
    """Find the CUDA toolkit's folder, with its compiler and the library that is linked to.

    Torch takes the first `nvcc` on the PATH, which may be a script far from its toolkit.
    """
    nvcc = shutil.which("nvcc")
    places = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places += [str(Path(nvcc).resolve().parents[1])] if nvcc else []
    for place in (Path(place) for place in places if place):
        libraries = any(any(place.glob(f"{lib}/libcudart*")) for lib in ("lib64", "lib"))
        if libraries and (place / "bin" / "nvcc").is_file():
            return place
    raise BuildError("no CUDA toolkit; CUDA_HOME must name its folder")


def _version(compiler: str) -> str:
    """A compiler's path and version text; the path tells apart what the text does not."""
    path = shutil.which(compiler)
    if path is None:
        raise BuildError(f"no compiler {compiler!r} on the PATH")
    try:
        result = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{path} --version: {type(error).__name__}") from None
    return f"{os.path.realpath(path)} {result.stdout}"


def cache_folder() -> Path:
    """The folder of libraries: `dragline/ops` in the user's cache folder."""
    return files.cache_folder("ops")


def library(device: str, folder: Path, wait_sec: float = WAIT_SEC) -> Path:
    """Return the library for `device`, from the cache or built now.

    If several processes ask, one builds and the others wait for it.

    Args:
        device: `cpu` or `cuda`.
        folder: The cache.
        wait_sec: Longest wait for another process's build.

    Raises:
        BuildError: If it is not available; one line.
    """
    recipe = recipe_for(device)
    stem = f"{device}-{recipe.key}"
    if path := _whole(folder, stem):
        return path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(folder / f"{stem}.lock", wait_sec):
            return _whole(folder, stem) or _build(recipe, folder, stem)
    except OSError as error:
        raise BuildError(f"{error.filename or folder}: {error.strerror or error}") from None


def cached_library(device: str, folder: Path) -> Path | None:
    """Return the library for `device`, if it is in the cache.

    Raises:
        BuildError: If it could not be built either.
    """
    return _whole(folder, f"{device}-{recipe_for(device).key}")


def _whole(folder: Path, stem: str) -> Path | None:
    """Find the library called `stem` whose bytes are those that its name promises."""
    for path in folder.glob(f"{stem}-*.so"):
        with contextlib.suppress(OSError):
            if sha256_file(path)[:_DIGITS] == path.stem.rsplit("-", 1)[1]:
                return path
    return None


@contextlib.contextmanager
def _lock(path: Path, wait_sec: float) -> Iterator[None]:
    """Hold the operating system's lock on `path`, which ends with its process, however that ends.

    Raises:
        BuildError: If another process holds it for longer than `wait_sec`.
    """
    deadline = time.monotonic() + wait_sec
    with open(path, "a", opener=open_in_place) as handle:
        while not _locked(handle.fileno()):
            if time.monotonic() > deadline:
                raise BuildError(f"another process has been building for {wait_sec:.0f} s ({path})")
            time.sleep(0.1)
        yield


def _locked(handle: int) -> bool:
    """Try to take the lock; where the file system has none, two builds do no harm."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _build(recipe: Recipe, folder: Path, stem: str) -> Path:
    """Compile in a temporary folder, then move the library into the cache in one step."""
    for damaged in folder.glob(f"{stem}-*.so"):
        damaged.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="dragline-ops-") as work:
        _compile(recipe, Path(work))
        output = Path(work) / f"{recipe.device}_ops.so"
        if not output.is_file():
            raise BuildError("the compiler left no library")
        path = folder / f"{stem}-{sha256_file(output)[:_DIGITS]}.so"
        with whole_file(path) as temporary:
            shutil.copyfile(output, temporary)
    return path


def _compile(recipe: Recipe, work: Path) -> None:
    """Compile the sources into `work`.

    Raises:
        BuildError: If that fails or takes too long.
    """
    request = {
        "name": f"{recipe.device}_ops",
        "sources": [str(path) for path in recipe.sources],
        "extra_cuda_cflags" if recipe.device == "cuda" else "extra_cflags": recipe.flags,
        "build_directory": str(work),
    }
    # Ninja may have come with pip, into a folder that only an activated environment has on PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), sysconfig.get_path("scripts")])
    settings = {"PATH": path}
    if recipe.device == "cuda":
        settings["CUDA_HOME"] = str(_cuda_home())
        settings["TORCH_CUDA_ARCH_LIST"] = recipe.architectures
    _run([sys.executable, "-P", str(NATIVE / "build.py"), json.dumps(request)], settings)


def _run(command: list[str], settings: dict[str, str]) -> None:
    """Run a program and all that it starts; end them all when time is up."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | settings,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=BUILD_SEC)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BuildError(f"the compiler did not finish within {BUILD_SEC:.0f} s") from None
        raise
    if child.returncode != 0:
        raise BuildError(_first_error(output))


def _first_error(output: str) -> str:
    """The line of a compiler's output that says what is wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or "cannot find" in line]
    return [*errors, *lines[-1:], "the compiler failed without a message"][0][:200]
