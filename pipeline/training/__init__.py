"""Training: the loop, its optimizer and schedule, snapshots, checkpoints."""
