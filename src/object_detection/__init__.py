"""Drop-in names of the TensorFlow Object Detection API; each calls boxtune."""
