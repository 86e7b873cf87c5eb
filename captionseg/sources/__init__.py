"""Where captioned images come from, one source a file."""
