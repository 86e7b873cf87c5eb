"""The command line as `python -m captionseg`."""

from captionseg.cli import start

start()
