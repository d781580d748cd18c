"""A run at toy size, for the tests of the stages: real stages, real model classes, 32x32, a second or two."""

from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from videogpa.bundled import recipes_folder
from videogpa.config import GenerateConfig, ModelConfig, PromptsConfig, Recipe, TrainConfig, WorldPrompts
from videogpa.records import Pair
from videogpa.stages import encode, generate, prompts, train
from videogpa.storage import manifests
from videogpa.storage.run_folder import RunFolder


def toy_recipe(**changes: object) -> Recipe:
    recipe = Recipe(
        name="toy",
        prompts=PromptsConfig(world=WorldPrompts(train=3, held_out=2, frames=9, height=32, width=32)),
        model=ModelConfig(name="cogvideox-i2v", path="toy:cogvideox-i2v", device="cpu"),
        generate=GenerateConfig(candidates=2, frames=9, height=32, width=32, num_inference_steps=2),
        train=TrainConfig(
            **{"steps": 6, "batch_size": 1, "gradient_accumulation_steps": 2, "warmup_steps": 2, "learning_rate": 1e-3},
            **{"lora_rank": 4, "lora_alpha": 8, "checkpoint_every": 2, "loss": "dpo", "beta": 500, "trackers": ()},
        ),
    )
    return Recipe.model_validate(
        {**recipe.model_dump(), **{k: {**getattr(recipe, k).model_dump(), **v} for k, v in changes.items()}}
    )


def pair_up(recipe: Recipe, folder: RunFolder) -> None:
    """Seed 0 wins against seed 1, whatever they look like."""
    rows = manifests.pairs(folder)
    names = [prompt.prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    chosen = [Pair(prompt=name, winner=f"{name}/0", loser=f"{name}/1", gap=0.1) for name in names]
    by_key = {rows.key(row): row for row in chosen}
    rows.update(dict.fromkeys(by_key, ""), lambda keys: [by_key[key] for key in keys])


def run_all(path: Path, recipe: Recipe) -> None:
    """Everything up to the adapter."""
    folder = RunFolder(path)
    for stage in (prompts.run, generate.run, pair_up, encode.run, train.run):
        stage(recipe, folder)


def encoded_run(path: Path, recipe: Recipe) -> RunFolder:
    """Everything up to what training reads."""
    folder = RunFolder(path)
    for stage in (prompts.run, generate.run, pair_up, encode.run):
        stage(recipe, folder)
    return folder


def launcher_environment(*arguments: str) -> dict[str, str]:
    """What `accelerate launch` hands to the processes that shard the weights as our configuration says."""
    configuration = recipes_folder() / "accelerate" / "fsdp2.yaml"
    parser = launch_command_parser()
    parsed = parser.parse_args(["--config_file", str(configuration), *arguments, "-m", "videogpa.cli", "train", "run"])
    environment: dict[str, str] = prepare_multi_gpu_env(_validate_launch_command(parsed)[0])
    return {name: value for name, value in environment.items() if name.startswith(("FSDP_", "ACCELERATE_"))}
