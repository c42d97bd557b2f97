"""What the stages share: program, settings, fetching, images, store, fitting, and so on."""
