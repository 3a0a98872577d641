"""Timings, as ratios within one run; the reference rows (record.py); the baselines' settings (tune.py)."""
