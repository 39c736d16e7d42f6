"""Reports: records in, text out. Computes no verdict and no statistic, and needs no framework."""
