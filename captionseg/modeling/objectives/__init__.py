"""Training objectives: contrast of bags and of pairs, masked captions, masks across pictures."""
