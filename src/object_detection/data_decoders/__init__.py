"""Decoders of records."""
