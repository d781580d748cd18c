"""An autoencoder to start from that sees colours: its latents are the shrunken picture, its decoder blows them up.

From random weights CogVideoX's autoencoder sees black and white for thousands of steps, which a CPU does not have. Here colours
travel from the first step on, as pairs of opposite sign, since silu(x) - silu(-x) = x, past branches that say nothing yet;
whatever else there is to be told is learned.
"""

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXResnetBlock3D, CogVideoXSpatialNorm3D
from diffusers.models.downsampling import CogVideoXDownsample3D
from jaxtyping import Float
from torch import Tensor
from torch.nn import Conv2d, Conv3d

LOG_VARIANCE = -5.0  # of the latents: with the 0 of random weights, noise drowns what the encoder has to say
CONTRAST = 0.2  # of colours in [-1, 1]: the last norm of the encoder divides by about this much

_NOW = (-1, 1, 1)  # of a causal kernel of 3: the present frame, the pixel itself
_ONLY = (0, 0, 0)
_SQUARE = (slice(0, 2), slice(0, 2))  # the four pixels that become one

_SIGNED = torch.cat([torch.eye(3), -torch.eye(3)])  # colours to pairs
_COLOURS = _SIGNED.T
_PAIRS = torch.eye(6)


def start_as_thumbnail(vae: AutoencoderKLCogVideoX) -> None:
    """Set the weights of an autoencoder with six channels or more at every level, and norms over all channels."""
    encoder, decoder = vae.encoder, vae.decoder
    for module in vae.modules():
        if isinstance(module, CogVideoXResnetBlock3D):
            _silence(module.conv2.conv)
            if module.in_channels != module.out_channels:
                _pass_on(module.conv_shortcut, _PAIRS, _ONLY)
        elif isinstance(module, CogVideoXSpatialNorm3D):  # a plain norm, that does not look at the latents
            _silence(module.conv_y.conv, bias=1.0)
            _silence(module.conv_b.conv)
        elif isinstance(module, CogVideoXDownsample3D):
            _pass_on(module.conv, _PAIRS / 4, _SQUARE)
    _pass_on(encoder.conv_in.conv, _SIGNED, _NOW)
    _pass_on(encoder.conv_out.conv, _COLOURS, _NOW)
    _silence(encoder.conv_out.conv, slice(vae.config.latent_channels, None), bias=LOG_VARIANCE)
    _silence(decoder.norm_out.conv_y.conv, slice(0, len(_PAIRS)))
    _pass_on(decoder.norm_out.conv_b.conv, _SIGNED, _ONLY)
    _silence(decoder.conv_out.conv)
    _pass_on(decoder.conv_out.conv, CONTRAST * _COLOURS, _NOW)


@torch.no_grad()
def _silence(layer: Conv2d | Conv3d, rows: slice = slice(None), bias: float = 0.0) -> None:
    """Have some output channels say `bias` and nothing else."""
    layer.weight[rows] = 0
    if layer.bias is not None:
        layer.bias[rows] = bias


@torch.no_grad()
def _pass_on(layer: Conv2d | Conv3d, matrix: Float[Tensor, "outputs inputs"], tap: tuple[int | slice, ...]) -> None:
    """Have the first output channels be sums of the first input channels at some place of the kernel, and of nothing else."""
    outputs, inputs = matrix.shape
    _silence(layer, slice(0, outputs))
    place = (slice(0, outputs), slice(0, inputs), *tap)
    layer.weight[place] = matrix.reshape(outputs, inputs, *[1] * sum(isinstance(axis, slice) for axis in tap))
