"""The API's generators of anchors."""
