"""Tells whether a training loss really makes an image classifier more robust."""

__version__ = "0.1.0"
