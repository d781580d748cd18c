"""What is in the wheel and what is not, whether the installed package is the one that is imported; writes clips to score."""

import sys
from importlib.metadata import requires, version
from pathlib import Path
from zipfile import ZipFile

import torch

import videogpa
from videogpa.bundled import recipes_folder
from videogpa.video import write_video
from videogpa.world import controls

NEEDED = ("recipes/demo.yaml", "weights/", "report/templates/", "py.typed", "cli/")
FOREIGN = ("miniatures", "tests", "benchmarks", "docs")


def main(wheel: Path, environment: Path) -> None:
    """Check the wheel, and leave a folder of clips."""
    names = ZipFile(wheel).namelist()
    for part in NEEDED:
        assert any(name.startswith(f"videogpa/{part}") for name in names), f"{wheel.name} has no {part}"
    tops = {name.split("/")[0] for name in names}
    assert tops == {"videogpa", f"videogpa-{version('videogpa')}.dist-info"}, tops
    assert not [name for name in names if set(Path(name).parts) & set(FOREIGN)]
    for place in (Path(videogpa.__file__), recipes_folder()):
        assert place.is_relative_to(environment), f"{place} is not of {environment}"
    rerun = [line for line in requires("videogpa") or [] if "rerun" in line]
    assert all("extra ==" in line for line in rerun), f"rerun belongs to the extra 'view' alone: {rerun}"

    style = controls.CLIP_STYLES["detailed"]
    write_video(Path("clips/consistent.mp4"), controls.consistent(style, 0, "orbit-left"), 8)
    write_video(Path("clips/noise.mp4"), torch.rand(10, 3, 96, 128, generator=torch.Generator().manual_seed(0)), 8)
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
