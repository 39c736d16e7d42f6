"""The graph of a loss, and one training step along it, as text, as a drawing and as a page."""
