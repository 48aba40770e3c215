"""The data sources, a file each: what stands under ``data.name``, and how it is read.

A new source is one new file here, with a function under `nnad.data.options.source`. It returns a
`nnad.data.dataset.Raw`; splitting, scaling, encoding and batching follow from that.
"""
