"""Showing how a derivative was computed: the evaluation trace of a textbook, of a recorded call.

`build` records a call and makes a `trace` of it; `names`, `formulas`, `numbers` and `notes` make
the texts.  The rest are forms of output: `tables` (plain text), `layout` and `svg` (a picture),
`html` (a page), `diagrams` (DOT and Mermaid).  `expression` reads formulas typed on the command
line.
"""

from nnad.autodiff.explain.build import explain
from nnad.autodiff.explain.trace import Trace

__all__ = ["Trace", "explain"]
