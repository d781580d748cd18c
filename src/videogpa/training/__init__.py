"""Training an adapter on preference pairs: data, losses, backward passes, the loop, what it logs and what it keeps."""
