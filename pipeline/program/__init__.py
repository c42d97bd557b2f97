"""What every command shares: one-sentence errors, whole files, progress."""
