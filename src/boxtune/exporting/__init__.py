"""Files in which a detector runs without boxtune, and the check that they find what it finds."""
