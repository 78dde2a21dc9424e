"""The API's helpers that scripts of users import."""
