"""Geometry foundation models, inference only, with the tensor names of the published weights."""
