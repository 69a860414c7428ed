"""What the papers' experiments compute beyond training and measuring, a package a study."""
