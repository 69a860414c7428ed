"""Concord's pipeline: data variants, runs, snapshots, measurements, claims."""
