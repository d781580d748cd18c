"""Recipes: the settings of every stage (`settings`, `training`, `rounds`), read from YAML and overrides (`loading`)."""

from videogpa.config.judging import JudgeConfig
from videogpa.config.loading import (
    judge_configs,
    load_recipe,
    load_run_recipe,
    paper_protocol,
    parse_settings,
    score_config,
    with_cluster,
    with_settings,
    workers_config,
)
from videogpa.config.machines import Needs, WorkersConfig
from videogpa.config.rounds import RoundsConfig
from videogpa.config.settings import (
    CameraPrompts,
    EvaluateConfig,
    GenerateConfig,
    Language,
    ModelConfig,
    PairConfig,
    PromptsConfig,
    Recipe,
    ScoreConfig,
    WorldPrompts,
)
from videogpa.config.training import TimestepsConfig, TrainConfig

__all__ = [
    "CameraPrompts",
    "EvaluateConfig",
    "GenerateConfig",
    "JudgeConfig",
    "Language",
    "ModelConfig",
    "Needs",
    "PairConfig",
    "PromptsConfig",
    "Recipe",
    "RoundsConfig",
    "ScoreConfig",
    "TimestepsConfig",
    "TrainConfig",
    "WorkersConfig",
    "WorldPrompts",
    "judge_configs",
    "load_recipe",
    "load_run_recipe",
    "paper_protocol",
    "parse_settings",
    "score_config",
    "with_cluster",
    "with_settings",
    "workers_config",
]
