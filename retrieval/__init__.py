"""Documents in, ranked and citable passages out."""
