"""What test_invariants_sharding.py runs in two processes, once for all its tests: trainings of the run folders named.

Of a folder `stopped*` the training is stopped in the middle of its third step first. What share of the frozen weights a
process holds, and how often it joined an expert that it had no sample for, goes to `facts-RANK.json` beside the folders.
"""

import json
import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from accelerate import Accelerator

from videogpa.config import load_recipe
from videogpa.models.wan.experts import Experts
from videogpa.stages import train
from videogpa.storage.run_folder import RunFolder
from videogpa.training import backward, distributed

JOINED: list[str] = []
HELD: dict[str, float] = {}


def main(folders: list[Path]) -> None:
    with ExitStack() as patches:
        patches.enter_context(patch.object(Experts, "_join", counted(Experts._join)))
        patches.enter_context(patch.object(distributed, "load_sharded", weighed(distributed.load_sharded)))
        # The end of a training is that of the process group, and here others follow.
        patches.enter_context(patch.object(Accelerator, "end_training", lambda accelerator: None))
        for folder in folders:
            if folder.name.startswith("stopped"):
                begin(folder, after=2)
            train.run(load_recipe(folder / "recipe.yaml"), RunFolder(folder))
    facts = {"held": HELD, "joined": len(JOINED)}
    (folders[0].parent / f"facts-{os.environ['RANK']}.json").write_text(json.dumps(facts))


def begin(folder: Path, *, after: int) -> None:
    """Train, and stop after so many batches."""
    with (
        patch.object(backward, "joint", stopping(backward.joint, after=after)),
        suppress(KeyboardInterrupt),
    ):
        train.run(load_recipe(folder / "recipe.yaml"), RunFolder(folder))


def counted(real: Any) -> Any:
    def call(experts: Experts, expert: str, batch: Any) -> Any:
        JOINED.append(expert)
        return real(experts, expert, batch)

    return call


def weighed(real: Any) -> Any:
    def call(*arguments: Any) -> Any:
        model = real(*arguments)
        parameters = list(model.transformer.parameters())
        held = sum(distributed.numbers_held(parameter) for parameter in parameters)
        HELD[type(model).__name__] = held / sum(parameter.numel() for parameter in parameters)
        return model

    return call


def stopping(real: Any, *, after: int) -> Any:
    calls = iter(range(100))

    def call(*arguments: Any) -> Any:
        if next(calls) == after:
            raise KeyboardInterrupt
        return real(*arguments)

    return call


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
