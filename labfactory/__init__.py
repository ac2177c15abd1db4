"""The `lab` command and the engines behind it; no Pulumi resources in here."""
