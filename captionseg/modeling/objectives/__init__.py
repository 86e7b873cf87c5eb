"""What models learn from: losses over bags and pairs, and masked captions to complete."""
