"""What the migration guide has people check: its checklist, and the validation after a migration."""
