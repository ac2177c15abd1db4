"""What runs in the pods that keep a lab: backups, drills, restores and checks."""
