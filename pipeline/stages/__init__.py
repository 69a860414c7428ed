"""The stages, thin: each reads its item's params, calls the rooms, writes its outs, mirrors into MLflow."""
