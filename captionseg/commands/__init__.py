"""The commands, one per file: `add` declares the arguments of a command, `run` executes it.

A command imports what it needs when it runs, so that --help is fast.
"""
