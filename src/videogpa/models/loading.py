"""From a recipe's `model` section to a model: where its weights are, their fingerprint, and loading."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import torch

from videogpa.bundled import TINY, bundled_folder
from videogpa.config import ModelConfig
from videogpa.devices import pick_device
from videogpa.errors import InvalidInput, MissingInput
from videogpa.hub import is_hub_id
from videogpa.models.base import PARTS, Memory, Part, Sampling, VideoModel
from videogpa.models.folders import INDEX, READ
from videogpa.registry import MODELS, load
from videogpa.storage.fingerprints import fingerprint, hashed_later, path_fingerprint
from videogpa.storage.run_folder import RunFolder
from videogpa.text_files import cut
from videogpa.weight_files import WHAT_TO_DO, kind_of_file, read_json

_TOY = "toy:"


def resolve_model_path(config: ModelConfig, folder: RunFolder) -> Path | str:
    """Return the model's local folder, or its hub id.

    `toy:NAME` (random weights) is built once, into `<run folder>/model/NAME`; `tiny:NAME` (trained) ships with the package.

    Raises:
        MissingInput: If there is no such folder and the name cannot be a hub id either.
        InvalidInput: If there is no such toy or tiny model.
    """
    if config.path.startswith(_TOY):
        return _toy_folder(config.path.removeprefix(_TOY), folder)
    if config.path.startswith(TINY):
        return bundled_folder(config.path)
    try:
        local = Path(config.path).expanduser()
    except RuntimeError:  # ~ of an unknown user, or no home
        raise MissingInput(f"there is no folder {cut(config.path)}: there is no such home") from None
    kind = kind_of_file(local)
    if kind == "folder":
        return local
    if kind != "missing":
        raise InvalidInput(f"model.path {cut(local)} {WHAT_TO_DO[kind].partition(':')[0]}: give the folder of a model")
    if not is_hub_id(config.path):
        raise MissingInput(
            f"there is no folder {cut(config.path)}. Give model.path a diffusers folder, a hub id such as "
            "zai-org/CogVideoX-5b-I2V, tiny:i2v, or toy:cogvideox-i2v."
        )
    return config.path


def _toy_folder(name: str, folder: RunFolder) -> Path:
    from videogpa.models import toys  # not before it is needed: imports diffusers

    if name not in toys.TOYS:
        raise InvalidInput(f"model.path {_TOY}{cut(name, 60)}: there is no such toy; there are: {', '.join(sorted(toys.TOYS))}")
    path = folder / "model" / name
    if not path.exists():
        toys.build(name, path)
    return path


def with_absolute_path(config: ModelConfig, folder: RunFolder) -> ModelConfig:
    """Return the settings with an absolute path or a hub id in place of `path`, valid in every working directory."""
    path = resolve_model_path(config, folder)
    return config if isinstance(path, str) else config.model_copy(update={"path": str(path.resolve())})


def model_identity(config: ModelConfig, folder: RunFolder) -> str:
    """Return a fingerprint of everything that changes the model's results: class, weights, dtype and tiling. Not the device.

    Of a folder in diffusers' format the files count that are read: another one may come and go.
    """
    return model_identities(config, folder)[0]


def model_identities(config: ModelConfig, folder: RunFolder) -> list[str]:
    """Return what `model_identity` does, and after it the one that version 0.1 gave the model, if it is another.

    Version 0.1 counted every file in the model's folder. What it made is kept as long as nothing there changes.
    """
    path = resolve_model_path(config, folder)
    if isinstance(path, str):
        weights = [path]
    else:
        weights = list(dict.fromkeys([path_fingerprint(path, _counts(path)), path_fingerprint(path)]))
    rest = (config.revision, config.dtype, config.tiling, *hashed_later(config))
    return [fingerprint("model", config.name, each, *rest) for each in weights]


def in_use(identities: Sequence[str], made_with: Callable[[str], bool]) -> str:
    """Return the identity of a model that something was made with already, or the first.

    Args:
        identities: What `model_identities` returns.
        made_with: Whether something that is there was made with an identity.
    """
    return next((identity for identity in identities if len(identities) > 1 and made_with(identity)), identities[0])


def _counts(path: Path) -> Callable[[Path], bool]:
    """Return what tells of a file in a model's folder whether it is read."""
    try:
        parts = set(read_json(path / INDEX))
    except (InvalidInput, MissingInput):
        return lambda file: True
    return lambda file: (
        file == Path(INDEX)
        or (len(file.parts) == 2 and file.parts[0] in parts and any(file.match(pattern) for pattern in READ))
    )


def check_size(config: ModelConfig, folder: RunFolder, *, frames: int, height: int, width: int) -> None:
    """Check, from its configuration alone, that the model can make clips of this size.

    Raises:
        InvalidInput: If it cannot; the message names the nearest size that it can make.
    """
    path = resolve_model_path(config, folder)
    load(MODELS, config.name).check_size(path, revision=config.revision, frames=frames, height=height, width=width)


def check_sampling(config: ModelConfig, folder: RunFolder, sampling: Sampling) -> None:
    """Check, from its configuration alone, that the model can make clips of this size with these settings.

    Raises:
        InvalidInput: If it cannot; the message names the nearest size, or the setting.
    """
    check_size(config, folder, frames=sampling.frames, height=sampling.height, width=sampling.width)
    optional = {field.name: field.default for field in fields(Sampling) if field.default is not MISSING}
    given = [name for name, default in optional.items() if getattr(sampling, name) != default]
    takes = getattr(load(MODELS, config.name), "sampling_settings", None)
    path = resolve_model_path(config, folder)
    taken = takes(path, revision=config.revision) if given and takes is not None else ()
    for name in given:
        if name not in taken:
            raise InvalidInput(
                f"generate.{name} is {cut(str(getattr(sampling, name)), 60)}, and {config.name} ({cut(path)}) takes no such "
                "setting: leave it out of the recipe"
            )


def load_model(config: ModelConfig, folder: RunFolder, *, parts: Collection[Part] = PARTS) -> VideoModel:
    """Load the recipe's model, or the named parts of it, onto its device."""
    model: VideoModel = load(MODELS, config.name).load(
        resolve_model_path(config, folder),
        revision=config.revision,
        device=pick_device(config.device),
        dtype=getattr(torch, config.dtype),
        parts=parts,
        memory=Memory(offload=config.offload, tiling=config.tiling),
        expert=config.expert,
    )
    return model
