"""The Unsplash Lite data set: its archive, its catalog, and the download of its photos."""
