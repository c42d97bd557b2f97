"""What the stages share, in packages that say what they hold."""
