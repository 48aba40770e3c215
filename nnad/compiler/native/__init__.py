"""Programs as machine code: LLVM kernels around NumPy's own matrix products."""
