"""The formats of annotations: a module each, which reads it and, for some, writes it."""
