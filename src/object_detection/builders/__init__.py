"""What a configuration describes, built."""
