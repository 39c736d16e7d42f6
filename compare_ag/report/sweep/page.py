"""x"""

from compare_ag.sweep_records import Analysis, CellRecord


def render_sweep(records: list[CellRecord], analysis: Analysis) -> str:
    return "x"
