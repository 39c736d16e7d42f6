"""Speed: the schedule of timed bursts and the statistics over them. Pure: numbers in, numbers out.

Knows neither workers nor clocks; randomness comes in as a generator.
"""

from compare_ag.speed.schedule import Plan, orders, perturbed, plan
from compare_ag.speed.statistics import Quartiles, paired_ratio, per_step

__all__ = ["Plan", "Quartiles", "orders", "paired_ratio", "per_step", "perturbed", "plan"]
