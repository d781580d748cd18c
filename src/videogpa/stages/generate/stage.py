"""The stage of a run: candidates of its training prompts."""

from videogpa import manifests
from videogpa.config import GenerateConfig, Recipe
from videogpa.errors import UserError
from videogpa.models.loading import check_size
from videogpa.records import Clip
from videogpa.runs import RunFolder
from videogpa.stages.generate.clips import make_clips
from videogpa.stages.generate.making import Adapter
from videogpa.workers import hire


def run(recipe: Recipe, folder: RunFolder) -> list[Clip]:
    """Make `recipe.generate.candidates` clips of every training prompt, those that are not there yet.

    Raises:
        UserError: If there is no training prompt, the model cannot make clips of the size asked for, or there is no such
            adapter or it does not fit.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    if not prompts:
        raise UserError(f"{folder / 'prompts.jsonl'} has no prompt with the split `train`: nothing to generate")
    config = recipe.generate
    check_size(recipe.model, folder, frames=config.frames, height=config.height, width=config.width)
    seeds = range(config.seed, config.seed + config.candidates)
    with hire(recipe.workers) as crew:
        return make_clips(
            prompts, seeds, recipe, folder, crew, into=folder, adapter=_adapter(config), keep_latents=config.keep_latents
        )


def _adapter(config: GenerateConfig) -> Adapter | None:
    return None if config.adapter is None else Adapter(config.adapter.expanduser().resolve(), config.adapter_scale)
