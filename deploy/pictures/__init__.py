"""The pictures in docs/pictures/: the system, the demo's live view, and dashboards. `make pictures` draws them.

`drawing.py` has SVG's few shapes, `system.py` the system, `screen.py` the live view, `charts.py` dashboards. Pictures
have a background of their own, so that they are legible on light and dark pages.
"""
