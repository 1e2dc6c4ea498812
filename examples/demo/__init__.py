"""``python -m examples.demo``: the whole path with real input, counted and checked."""
