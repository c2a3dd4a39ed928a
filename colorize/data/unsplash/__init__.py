"""Unsplash Lite: its catalog, and the download of its photos."""
