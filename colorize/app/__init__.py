"""The web page that colorizes photos in a browser; it needs the extra `demo`."""
