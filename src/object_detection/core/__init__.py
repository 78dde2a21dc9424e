"""The names that the parts of a detector share."""
