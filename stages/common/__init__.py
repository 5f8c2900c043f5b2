"""What stages of any kind use: datasets on disk, the words of errors, sizes of what is shipped."""
