"""The API's encodings of boxes."""
