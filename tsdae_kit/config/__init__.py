"""The settings of every command, and what is made from them: flags, keyword arguments, YAML files, plans, a schema."""
