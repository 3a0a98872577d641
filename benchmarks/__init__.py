"""What is measured against what, by ``python -m benchmarks NAME``; speeds are ratios within one run."""
