"""Self-contained HTML pages, from what is on the disk: no script, nothing from the network."""
