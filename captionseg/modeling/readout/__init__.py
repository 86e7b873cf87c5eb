"""From scores of groups and regions to pixels."""
