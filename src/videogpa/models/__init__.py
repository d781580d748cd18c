"""Video diffusion models, one file or folder per family. `base.py` is the contract, and documents its methods for all."""
