"""Video diffusion backbones, one file per family."""
