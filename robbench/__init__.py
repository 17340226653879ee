"""robbench: does a training loss really make an image classifier more robust?"""

__version__ = "0.1.0"
