"""Pure functions of tensors. Nothing here reads files, chooses devices or loads models."""
