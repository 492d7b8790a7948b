"""Plans: several commands from one YAML file, and the JSON schema of such a file."""
