"""Raw images: their file format, their split, their scaling, their labels."""
