"""The command line and the demo. Uses only the public names of the package."""
