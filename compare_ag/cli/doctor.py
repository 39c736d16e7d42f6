"""stub"""
from compare_ag.cli.common import Command, click
@click.command("doctor", cls=Command)
def doctor() -> None:
    """stub"""
