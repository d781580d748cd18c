import math

import pytest
import torch
from torch.testing import assert_close

from videogpa.maths.dpo import (
    denoising_errors,
    dpo_logits,
    dpo_loss,
    implicit_accuracy,
    improvement,
    mean_square,
    overlap,
    safe_share,
)


def logits_of(policy_winner, policy_loser, reference_winner, reference_loser, beta=2000.0):
    return dpo_logits(
        policy_winner=torch.tensor(policy_winner),
        policy_loser=torch.tensor(policy_loser),
        reference_winner=torch.tensor(reference_winner),
        reference_loser=torch.tensor(reference_loser),
        beta=beta,
    )


def test_logits_by_hand():
    # winner improved by .002, loser by .0005: 2000 / 2 * .0015 = 1.5
    assert_close(logits_of([0.098], [0.1995], [0.1], [0.2]), torch.tensor([1.5]), atol=1e-4, rtol=0)


def test_loss_by_hand():
    assert_close(
        dpo_loss(torch.tensor([1.5, -0.5])), torch.tensor((math.log1p(math.exp(-1.5)) + math.log1p(math.exp(0.5))) / 2)
    )


def test_untouched_policy_has_loss_log_2_and_accuracy_one_half():
    errors = torch.rand(2, 7, generator=torch.Generator().manual_seed(1)).tolist()
    logits = logits_of(*errors, *errors)
    assert torch.equal(logits, torch.zeros(7))
    assert_close(dpo_loss(logits), torch.tensor(math.log(2)))
    assert implicit_accuracy(logits) == 0.5


def test_accuracy_is_relative_to_the_reference():
    # the winner has the greater raw error in both pairs, yet in the first the policy improved more on the winner
    logits = logits_of([0.29, 0.31], [0.1, 0.1], [0.3, 0.3], [0.1, 0.1])
    assert implicit_accuracy(logits) == 0.5
    assert logits[0] > 0 > logits[1]


def test_exchanging_winner_and_loser_turns_the_sign():
    forward = logits_of([0.1, 0.2], [0.3, 0.4], [0.15, 0.2], [0.25, 0.5])
    backward = logits_of([0.3, 0.4], [0.1, 0.2], [0.25, 0.5], [0.15, 0.2])
    assert_close(forward, -backward)


def test_gradient_lowers_the_winner_error_and_raises_the_loser_error():
    winner, loser = torch.tensor([0.1], requires_grad=True), torch.tensor([0.1], requires_grad=True)
    reference = torch.tensor([0.1])
    logits = dpo_logits(
        policy_winner=winner, policy_loser=loser, reference_winner=reference, reference_loser=reference, beta=2000.0
    )
    gradients = torch.autograd.grad(dpo_loss(logits), (winner, loser))
    assert_close(gradients, (torch.tensor([500.0]), torch.tensor([-500.0])))  # beta / 2 * sigmoid(0)


def test_loss_is_finite_for_extreme_logits():
    assert_close(dpo_loss(torch.tensor([1e4, -1e4])), torch.tensor(5e3))


def test_improvement_is_positive_when_the_error_fell():
    assert_close(improvement(torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.2])), torch.tensor([0.1, -0.1]))


def test_denoising_errors_by_hand():
    prediction, target = torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert_close(denoising_errors(prediction, target), torch.tensor([1.0, 9.0]))


def test_denoising_errors_of_half_precision_are_summed_in_float32():
    prediction = torch.full((1, 100_000), 1.0, dtype=torch.bfloat16)
    errors = denoising_errors(prediction, torch.zeros_like(prediction))
    assert errors.dtype == torch.float32
    assert errors.item() == pytest.approx(1.0)


def test_the_share_of_the_loser_by_hand():
    # |g_w|² = 5, g_w·g_l = 4 and -2 and 20: with mu = 0.6 the shares are 2 / 4, all, and 2 / 20
    winner = torch.tensor([[1.0, 2.0]] * 3)
    loser = torch.tensor([[0.0, 2.0], [0.0, -1.0], [4.0, 8.0]])
    share = safe_share(mean_square(winner), overlap(winner, loser), mu=0.6)
    assert_close(share, torch.tensor([0.5, 1.0, 0.1]))
    assert_close(safe_share(mean_square(winner), overlap(winner, loser), mu=1.0), torch.tensor([0.0, 1.0, 0.0]))


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9])
def test_a_step_with_that_share_lowers_the_winners_error_by_the_part_that_is_promised(mu):
    """A step in the output against g_w - share g_l: the error on the winner falls by mu |g_w|² at least, to first order."""
    generator = torch.Generator().manual_seed(0)
    winner, loser = torch.randn(2, 200, 12, generator=generator).double()
    loser = loser + 2 * winner  # most of them point the same way
    share = safe_share(mean_square(winner), overlap(winner, loser), mu=mu)
    step = 1e-6 * (winner - share[:, None] * loser)
    fallen = (mean_square(winner) - mean_square(winner - step)) / (2e-6 * mean_square(winner))
    assert fallen.min() >= mu - 1e-5
    unsafe = mean_square(winner) - mean_square(winner - 1e-6 * (winner - loser))
    assert (unsafe < 0).float().mean() > 0.9  # what the share prevents
