"""Which device a model or a critic works on."""

import torch

from videogpa.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU if there is one.

    Raises:
        UserError: If the name is no device, or the machine has no such one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise UserError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return device
