"""boxtune: retrain object detectors on your own photographs."""

__version__ = "0.1.0"
