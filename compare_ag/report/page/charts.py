"""Every chart of the page, in reading order."""

from __future__ import annotations

from compare_ag.records import Run
from compare_ag.report.page import costs, courses
from compare_ag.report.page.packing import Packer
from compare_ag.report.page.series import Chart

BUILDERS = (
    courses.losses_chart, courses.difference_chart, courses.weights_charts, costs.speed_chart, costs.ratios_chart,
    costs.phases_chart, costs.first_steps_chart, costs.memory_chart, costs.accuracy_chart,
)  # fmt: skip


def charts(run: Run, packer: Packer) -> dict[str, Chart]:
    """Every chart that the run has numbers for, by its id; their long arrays go to the packer."""
    return {chart["id"]: chart for build in BUILDERS for chart in build(run, packer)}
