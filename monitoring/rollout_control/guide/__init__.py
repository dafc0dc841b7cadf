"""The checks that the migration guide asks people to make: its checklist, and the validation after a migration."""
