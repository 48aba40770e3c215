"""Benchmarks of nnad beside other libraries; run `scripts/benchmark.py`.

`workloads` says what is computed, in NumPy alone: sizes, data, initial parameters. `libraries`
holds one file per library, each of which builds the same step with that library's own means.
`worker` is the process in which one library runs one workload; `harness` starts the workers and
lets them take turns; `tables` prints the results.
"""
