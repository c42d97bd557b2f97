"""What the stages share, in rooms: program, settings, fetching, images, store, training, evaluation, drawing."""
