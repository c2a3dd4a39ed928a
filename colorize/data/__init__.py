"""Photos on disk, and the way from there to batches."""
