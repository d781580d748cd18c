"""The miniature world: scenes with exact geometry, in which the whole method runs on a laptop."""
