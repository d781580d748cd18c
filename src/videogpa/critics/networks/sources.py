"""What a source of weights names on this machine. Nothing here imports torch: it is asked for every batch of clips."""

from pathlib import Path

from videogpa import hub
from videogpa.bundled import TINY, bundled_folder
from videogpa.errors import InvalidInput, MissingInput
from videogpa.text_files import cut
from videogpa.weight_files import WHAT_TO_DO, kind_of_file


def local_source(source: str | Path) -> Path | None:
    """Return the folder or file that a source of weights names on this machine; None for a hub id.

    Raises:
        MissingInput: If it names nothing here, and can be no hub id.
        InvalidInput: If it is a pipe, a device, or cannot be opened, or names a bundled model that there is not.
    """
    if str(source).startswith(TINY):
        return bundled_folder(str(source))
    path = _expanded(source)
    kind = kind_of_file(path)
    if kind in ("not a file", "unreadable"):
        raise InvalidInput(f"{cut(path)} {WHAT_TO_DO[kind]}: give a folder or a .safetensors file with weights")
    if kind != "missing":
        return path
    if not hub.is_hub_id(str(source)):
        raise MissingInput(
            f"no weights at {cut(source)}: expected a folder, a .safetensors file, or a hub id such as owner/name"
        )
    return None


def _expanded(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~ of an unknown user, or no home
        raise MissingInput(f"no weights at {cut(source)}: there is no such home folder") from None
