"""The smallest run of all stages through the command line, and what it leaves, for tests that stop it and go on."""

import json
from pathlib import Path

SMALL = {
    "prompts.world": "{train: 3, held_out: 2, frames: 9, height: 32, width: 32}",
    "generate": "{candidates: 2, frames: 9, height: 32, width: 32, fps: 8, num_inference_steps: 2, guidance_scale: 1.0}",
    "score.frames": "9",
    "pair.keep_motion": "0.0",  # two clips of noise a prompt: the better one may well be the calmer one
    "train": "{steps: 6, batch_size: 1, gradient_accumulation_steps: 2, learning_rate: 1.0e-3, warmup_steps: 1, "
    "lora_rank: 4, lora_alpha: 8, checkpoint_every: 1, "
    "trackers: []}",
    "evaluate": "{critics: [oracle], seeds: 1}",
}
OVERRIDES = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]

CLOCK = {"seconds", "pairs_per_second", "memory_gib"}
"""What a row tells of the machine."""


def content(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves behind, without the clock's readings and what only the training itself reads."""
    files = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(file.relative_to(folder))
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            files[name] = "\n".join(json.dumps({k: v for k, v in row.items() if k not in CLOCK}) for row in rows).encode()
        elif file.name not in {".lock", ".videogpa"}:
            files[name] = file.read_bytes()
    return files


def same(folder: Path, reference: Path) -> bool:
    """Whether two runs left the same files with the same content; shows how they differ."""
    mine, theirs = content(folder), content(reference)
    assert set(mine) == set(theirs)
    assert [name for name in theirs if mine[name] != theirs[name]] == []
    return True
