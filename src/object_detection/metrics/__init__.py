"""Readers of records with detections."""
