"""Charts as SVG and pages that stand alone: text in, text out, no library and no network.

A chart is a function of numbers that returns an SVG element. Its colours are variables of the style
sheet, which has them for light and dark surroundings; so the element wants `style()` around it.
"""

from nnad.charts.bars import bars, histogram
from nnad.charts.lines import Line, line_chart
from nnad.charts.matrix import matrix_chart, pixels
from nnad.charts.page import NOTHING_LOADED, document, figure, legend, style, table
from nnad.charts.points import Points, point_chart

__all__ = [
    "NOTHING_LOADED",
    "Line",
    "Points",
    "bars",
    "document",
    "figure",
    "histogram",
    "legend",
    "line_chart",
    "matrix_chart",
    "pixels",
    "point_chart",
    "style",
    "table",
]
