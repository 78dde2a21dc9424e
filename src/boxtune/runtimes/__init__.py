"""Running exported files where neither TensorFlow nor Keras is installed."""
