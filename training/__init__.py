"""Building the assets, learning and measuring. Imports the backend, never the reverse."""
