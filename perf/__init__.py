"""Speed as ratios against a named reference in the same run. The last line of each is `ratio R`;
above 1 is better.
"""
