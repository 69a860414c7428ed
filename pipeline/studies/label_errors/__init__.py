"""Wrong labels: which examples of a training set do the others disagree with? See docs/label-errors.md."""
