"""What is known of recipes' results, for people: shown again, compared, and written as a page."""
