"""Many runs of one job, trained several at once: by processes of our own, or by those of MPI."""
