"""Reports: records in, text out. Computes no verdict and no statistic, and needs no framework."""

from compare_ag.report.graph.svg import graph_svg

__all__ = ["graph_svg"]
