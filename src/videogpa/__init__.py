"""Score the 3D consistency of videos, and align video diffusion models with it."""

__version__ = "0.1.0"
