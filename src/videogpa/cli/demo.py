"""`videogpa demo`: which recipe it runs, and how preference training is made to go wrong."""

RECIPE = "demo"

OVER_OPTIMISE = (
    "name=demo-over-optimised",
    "train.loss=dpo",
    "train.beta=5000",
    "train.learning_rate=5.0e-3",
    "train.lr_scheduler=constant",
    "train.lora_rank=64",
    "train.lora_alpha=64",
    "train.steps=60",
    "train.validate_every=10",
)
"""Settings under which the policy takes the shortest way: everything gets worse, losers faster than winners. As if all weights
were trained (a rank near the layers' own) by large steps, for a loss that a high beta lets see only who is worse off."""
