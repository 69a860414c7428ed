"""Easy and hard examples: told apart by how networks learned them, made into views, and fitted alone."""
