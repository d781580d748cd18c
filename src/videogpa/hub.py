"""Files from the Hugging Face hub: from its cache without a look at the network, else fetched; every failure in a sentence.

Before anything is fetched one short request tells whether the hub can be reached: its own client would try again for half a
minute. Nothing here runs unless a name of the hub was given as a model or as weights.
"""

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from videogpa.errors import MissingInput, UserError
from videogpa.text_files import cut

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(?<![.-])", re.ASCII)

PATIENCE = 3.0  # seconds for the first answer of a server


def is_hub_id(name: str) -> bool:
    """Return whether a text can be the name of a repository, `owner/name`, and not a path."""
    return bool(_HUB_ID.fullmatch(name)) and len(name) <= 96 and ".." not in name and "--" not in name


def cached(name: str, *, patterns: Sequence[str], revision: str | None = None) -> Path | None:
    """Return the folder of a repository in the hub's cache, or None if nothing of it is there. The network is not used.

    Args:
        name: A hub id.
        patterns: Shell patterns of the files that are wanted. The folder may lack some of them.
        revision: A branch, tag or commit; None for the default one.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(patterns), local_files_only=True)
    except LocalEntryNotFoundError as error:
        folder = getattr(error, "snapshot_path", "")  # of one that lacks files, which may not be needed
    except (HFValidationError, OSError, RuntimeError):  # RuntimeError: there is no home, and so no cache
        return None
    return Path(folder) if folder else None


def fetch(
    name: str,
    *,
    patterns: Sequence[str],
    setting: str,
    revision: str | None = None,
    without: Sequence[str] = (),
    complete: Callable[[Path], bool] = lambda _: True,
) -> Path:
    """Return the folder of a repository, from the hub's cache if it is complete there, else fetched into it.

    Args:
        name: A hub id.
        patterns: Shell patterns of the files that are wanted.
        setting: The setting that names the files once they are on this machine, such as `model.path`.
        revision: A branch, tag or commit; None for the default one.
        without: Shell patterns of files that are not wanted.
        complete: Whether a folder in the cache has all that is needed.

    Raises:
        UserError: If the files are not here and cannot be fetched: the hub is offline, there is no such repository or revision,
            it is gated, or the disk is full. The message says what to do.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    here = cached(name, patterns=patterns, revision=revision)
    if here is not None and complete(here):
        return here
    _require_network(name, constants.ENDPOINT, setting)
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(without) or None
        )
    except GatedRepoError:
        raise UserError(
            f"{name} is gated: accept its licence at https://huggingface.co/{name}, then log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise MissingInput(
            f"{name} is neither a folder or file here nor a model on the hub (or one that needs a login)"
        ) from None
    except RevisionNotFoundError:
        raise MissingInput(f"{name} has no revision {revision!r} on the hub; look at https://huggingface.co/{name}") from None
    except RuntimeError as error:
        if "home directory" not in str(error):  # what `Path.expanduser` says
            raise
        raise UserError(
            f"there is no home folder to keep {name} in: set HF_HOME to a folder. {_by_hand(name, setting)}"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{name} could not be fetched from the hub ({cut(error)}). {_by_hand(name, setting)}") from None
    return Path(folder)


def answers(url: str, *, patience: float = PATIENCE) -> bool:
    """Return whether a server answers at all, in a few seconds at most. Proxies of the environment are used.

    Args:
        url: An address of the server; its head is asked for.
        patience: Seconds to wait. Looking a name up can take longer by itself, so it is done by a thread that is left behind.
    """
    found: list[bool] = []

    def ask() -> None:
        from ssl import SSLError
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, urlopen

        try:
            with urlopen(Request(url, method="HEAD"), timeout=patience):
                found.append(True)
        except HTTPError:
            found.append(True)  # the server's own answer
        except URLError as error:
            found.append(isinstance(error.reason, SSLError))  # certificates are the business of the hub's client
        except (OSError, ValueError):
            found.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return found == [True]


def offline_by_choice() -> bool:
    """Return whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _require_network(name: str, endpoint: str, setting: str) -> None:
    if offline_by_choice():
        raise UserError(
            f"{name} is not on this machine, and could not be fetched from the hub, since HF_HUB_OFFLINE is set: unset it. "
            f"{_by_hand(name, setting)}"
        )
    if not answers(endpoint):
        raise UserError(
            f"{name} is not on this machine, and could not be fetched from the hub: {endpoint} does not answer. "
            f"{_by_hand(name, setting)}"
        )


def _by_hand(name: str, setting: str) -> str:
    folder = name.split("/")[-1]
    return (
        f"Or run `hf download {name} --local-dir {folder}` on a machine that reaches it, copy the folder here, and set "
        f"{setting} to its path."
    )
