"""The stage of a run: candidates of its training prompts."""

from videogpa import manifests
from videogpa.config import Recipe
from videogpa.errors import UserError
from videogpa.models.loading import check_size, load_model, model_identity
from videogpa.records import Clip
from videogpa.runs import RunFolder
from videogpa.stages.generate.clips import make_clips


def run(recipe: Recipe, folder: RunFolder) -> list[Clip]:
    """Make `recipe.generate.candidates` clips of every training prompt, those that are not there yet.

    Raises:
        UserError: If there is no training prompt, or the model cannot make clips of the size asked for.
    """
    prompts = [prompt for prompt in manifests.prompts(folder).rows() if prompt.split == "train"]
    if not prompts:
        raise UserError(f"{folder / 'prompts.jsonl'} has no prompt with the split `train`: nothing to generate")
    config = recipe.generate
    check_size(recipe.model, folder, frames=config.frames, height=config.height, width=config.width)
    return make_clips(
        lambda: load_model(recipe.model, folder),
        prompts,
        range(config.seed, config.seed + config.candidates),
        config,
        folder,
        images=folder.path,
        model_identity=model_identity(recipe.model, folder),
    )
