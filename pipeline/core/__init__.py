"""What every room needs: errors with a place and a remedy, addresses, and where files lie."""
