"""One file per library: a function per kind of workload, `kind(workload, variant) -> Job`."""
