"""What people type and what they are shown: the only room that prints and exits."""
