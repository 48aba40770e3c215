"""The cores of the machine: NumPy's BLAS on one thread, and the threads that share large work."""
