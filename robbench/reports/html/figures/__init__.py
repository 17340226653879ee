"""Plotly figures of the page."""
