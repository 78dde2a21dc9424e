"""Detectors behind the interface that training loops and notebooks call."""
