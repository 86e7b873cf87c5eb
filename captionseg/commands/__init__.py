"""The commands, one per file: `command` declares its arguments and executes it.

A command imports what it needs when it runs, so that --help is fast.
"""
