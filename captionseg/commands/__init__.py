"""The commands, one a file: `add` says what arguments a command has, `run` does it.

What a command needs is imported when it runs, so that --help comes at once.
"""
