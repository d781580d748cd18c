"""From a clip, or from any reconstruction of one, to its scores: what a researcher imports."""
