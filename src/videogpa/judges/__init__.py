"""Judges: networks that say how good a clip looks, beside the critics, which measure its geometry. One file for each."""
