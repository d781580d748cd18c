"""What a user should know before a run starts: weights that `evaluate` fetches, and a critic that also chose the pairs."""

from collections.abc import Iterator
from pathlib import Path

from videogpa.bundled import TINY
from videogpa.config import Recipe, judge_configs
from videogpa.critics.cards import cards_of
from videogpa.critics.networks.sources import local_source
from videogpa.critics.networks.weights import in_hubs_cache
from videogpa.stages.judge import require_weights


def notes_on_evaluation(recipe: Recipe) -> Iterator[str]:
    """Yield a sentence for every critic and judge of `evaluate` that fetches its weights, or that also chose the pairs.

    Raises:
        MissingInput: If the weights of a judge are not there: that is said before hours of work.
    """
    judges = judge_configs(recipe.evaluate.judges)
    require_weights(judges)
    for judge in judges:
        weights = str(judge.options["weights"])
        if local_source(weights) is None and not in_hubs_cache(weights):
            yield f"evaluate fetches the weights of judge {judge.judge} ({weights}) on first use"
    for config in recipe.evaluating():
        first = cards_of(config.critic)[0]
        weights = str(config.options.get("weights", first.weights))
        card = next((card for card in cards_of(config.critic) if card.weights == weights), first)
        fetched = card.download is not None and not weights.startswith(TINY) and not Path(weights).exists()
        if fetched and not in_hubs_cache(weights):
            yield (
                f"evaluate fetches the weights of critic {config.critic} ({weights}, {card.download}) on first use; "
                "set evaluate.critics=[sfm] to do without weights"
            )
        if config.critic == recipe.score.critic and recipe.evaluate.adapter is None:
            yield (
                f"critic {config.critic} of evaluate also chose the training pairs: a gain by it alone may be "
                "over-optimisation of its score, so name a second one in evaluate.critics"
            )
