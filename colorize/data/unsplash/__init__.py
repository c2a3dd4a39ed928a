"""The Unsplash Lite data set: its archive, its catalog, and the download of its photos."""

from colorize.data.unsplash.download import HOSTS, TERMS, Hosts, UnsplashLite

__all__ = ["HOSTS", "TERMS", "Hosts", "UnsplashLite"]
