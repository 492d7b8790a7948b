"""The settings of every command, and what is made from them: flags, YAML files, plans, a JSON schema."""
