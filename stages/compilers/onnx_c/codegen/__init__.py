"""The C of a whole model: its source, its header, what it exports."""
