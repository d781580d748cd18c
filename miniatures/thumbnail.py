"""Initial weights of an autoencoder that preserve colours: its latents are the downsampled picture, which its decoder enlarges.

From random weights CogVideoX's autoencoder reproduces only black and white for thousands of steps, which take too long on a
CPU. With these weights colours pass through from the first step on, as pairs of opposite sign, since silu(x) - silu(-x) = x,
while the residual branches output zero. Training adds all other detail.
"""

import torch
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXResnetBlock3D, CogVideoXSpatialNorm3D
from diffusers.models.downsampling import CogVideoXDownsample3D
from jaxtyping import Float
from torch import Tensor
from torch.nn import Conv2d, Conv3d

LOG_VARIANCE = -5.0  # of the latents: with the 0 of random weights, noise drowns the encoder's output
CONTRAST = 0.2  # of colours in [-1, 1]: the last norm of the encoder divides by about this much

_CENTRE_TAP = (-1, 1, 1)  # in a causal kernel of size 3: the current frame and the centre pixel
_SINGLE_TAP = (0, 0, 0)  # the only tap of a kernel of size 1
_POOLED_TAPS = (slice(0, 2), slice(0, 2))  # the four pixels that are averaged to one

_RGB_TO_PAIRS = torch.cat([torch.eye(3), -torch.eye(3)])  # colours to pairs of opposite sign
_PAIRS_TO_RGB = _RGB_TO_PAIRS.T
_KEEP_PAIRS = torch.eye(6)


def start_as_thumbnail(vae: AutoencoderKLCogVideoX) -> None:
    """Set the initial weights of an autoencoder, in place.

    Args:
        vae: An autoencoder with six or more channels at every level, and norms over all channels.
    """
    encoder, decoder = vae.encoder, vae.decoder
    for module in vae.modules():
        if isinstance(module, CogVideoXResnetBlock3D):
            _silence(module.conv2.conv)
            if module.in_channels != module.out_channels:
                _pass_on(module.conv_shortcut, _KEEP_PAIRS, _SINGLE_TAP)
        elif isinstance(module, CogVideoXSpatialNorm3D):  # a plain norm, which is independent of the latents
            _silence(module.conv_y.conv, bias=1.0)
            _silence(module.conv_b.conv)
        elif isinstance(module, CogVideoXDownsample3D):
            _pass_on(module.conv, _KEEP_PAIRS / 4, _POOLED_TAPS)
    _pass_on(encoder.conv_in.conv, _RGB_TO_PAIRS, _CENTRE_TAP)
    _pass_on(encoder.conv_out.conv, _PAIRS_TO_RGB, _CENTRE_TAP)
    _silence(encoder.conv_out.conv, slice(vae.config.latent_channels, None), bias=LOG_VARIANCE)
    _silence(decoder.norm_out.conv_y.conv, slice(0, len(_KEEP_PAIRS)))
    _pass_on(decoder.norm_out.conv_b.conv, _RGB_TO_PAIRS, _SINGLE_TAP)
    _silence(decoder.conv_out.conv)
    _pass_on(decoder.conv_out.conv, CONTRAST * _PAIRS_TO_RGB, _CENTRE_TAP)


@torch.no_grad()
def _silence(layer: Conv2d | Conv3d, rows: slice = slice(None), bias: float = 0.0) -> None:
    """Set these output channels to the constant `bias`."""
    layer.weight[rows] = 0
    if layer.bias is not None:
        layer.bias[rows] = bias


@torch.no_grad()
def _pass_on(layer: Conv2d | Conv3d, matrix: Float[Tensor, "outputs inputs"], tap: tuple[int | slice, ...]) -> None:
    """Make the first outputs linear combinations of the first inputs at these taps, with all other weights of theirs zero."""
    outputs, inputs = matrix.shape
    _silence(layer, slice(0, outputs))
    place = (slice(0, outputs), slice(0, inputs), *tap)
    layer.weight[place] = matrix.reshape(outputs, inputs, *[1] * sum(isinstance(axis, slice) for axis in tap))
