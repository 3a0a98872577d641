"""ILO that needs no tuning: layer, radius and stopping point chosen by measurements that are held out. Ours."""
