"""What holds for every critic in the registry."""

import inspect

import pytest

from videogpa.config import ScoreConfig
from videogpa.registry import CRITICS, check_options, load


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_tells_what_a_user_must_know(name: str) -> None:
    cards = load(CRITICS, name).CARDS
    assert cards
    for card in cards:
        assert all((card.weights, card.licence, card.memory, card.paper))
        assert (card.parameters is None) == (card.download is None) == (card.weights == "none")


def test_the_default_may_be_used_commercially() -> None:
    assert load(CRITICS, ScoreConfig().critic).CARDS[0].commercial
    assert all(load(CRITICS, name).CARDS[0].commercial for name in CRITICS)


@pytest.mark.parametrize("name", CRITICS)
def test_options_have_defaults_and_others_are_refused(name: str) -> None:
    critic = load(CRITICS, name)
    options = check_options(CRITICS, name, {})
    assert set(options) == set(inspect.signature(critic).parameters)
    with pytest.raises(ValueError, match=f"options of {name} .*: wieghts: Extra inputs"):
        check_options(CRITICS, name, {"wieghts": "x"})
    check_options(CRITICS, name, getattr(critic, "PAPER", {}))
