"""What a team needs to share a cache: checks of the setup, and questions to the remote."""
