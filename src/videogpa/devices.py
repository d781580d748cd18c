"""Choose the device that a model or a critic runs on."""

import torch

from videogpa.errors import InvalidInput


def pick_device(name: str) -> torch.device:
    """Return a device by name.

    Args:
        name: A device name of torch, such as `cpu` or `cuda:1`; or `auto`, which is a GPU if there is one, otherwise the CPU.

    Raises:
        InvalidInput: If the name is not that of a device that computes, or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # `meta` is a device of torch's whose tensors hold no numbers
    except (RuntimeError, AssertionError, ValueError) as error:  # a torch built without CUDA raises AssertionError
        raise InvalidInput(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return device
