"""Tables and pictures of a study as files that others read."""
