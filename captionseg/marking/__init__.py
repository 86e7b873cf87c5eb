"""Which training pairs are left out, and why: one marker a file. No row is ever deleted."""
