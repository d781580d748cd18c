"""Pure functions of tensors: no files, no devices, no models."""
