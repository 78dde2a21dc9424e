"""The API's tools that write TFRecords."""
