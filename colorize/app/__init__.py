"""The web page where photos are colorized in a browser."""
