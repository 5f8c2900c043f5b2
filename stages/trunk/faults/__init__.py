"""What is wrong with a person's model, found before or where it fails, and said in their words."""
