"""Programs of the API for TensorFlow 1: each answers with the command that does its job now."""
