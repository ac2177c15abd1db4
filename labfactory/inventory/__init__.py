"""What a lab has: models, data, services, secrets by name, backups, certificates."""
