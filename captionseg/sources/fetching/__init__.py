"""Files over HTTP, from servers that nobody vouches for: each URL ends with bytes or a Refusal."""
