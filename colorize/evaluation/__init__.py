"""The judge: any painter's pictures against the truth, by one code."""
