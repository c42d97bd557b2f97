"""The figures, and the PNG files they become."""
