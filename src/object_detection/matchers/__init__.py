"""The API's matchers of anchors and objects."""
