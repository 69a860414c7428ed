"""Parts of benchmarks/noisy_training.py: what is compared, how it is tuned, trained and shown."""
