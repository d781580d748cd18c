import torch
from torch.testing import assert_close

from videogpa.maths.latents import static_penalty


def test_by_hand():
    # over time 0, 2, 4: variance 8/3, squared differences 4 and 4
    latents = torch.tensor([0.0, 2.0, 4.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 2, 2, 2)
    assert_close(static_penalty(latents), torch.tensor([-(0.7 * 8 / 3 + 0.3 * 4)]))


def test_a_frozen_clip_is_at_the_upper_end():
    frame = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(static_penalty(frame.expand(2, 5, 4, 3, 3)), torch.zeros(2))
    assert torch.equal(static_penalty(frame), torch.zeros(2))


def test_the_gradient_pushes_frames_apart():
    latents = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1).requires_grad_()
    (slope,) = torch.autograd.grad(static_penalty(latents).sum(), latents)
    assert slope[0, 0] > 0 > slope[0, 1]
