"""The command line and the demo. Use the public names, and those of model, errors and strict_json."""
