"""What every room stands on: errors, files, locks, tensors, tables of text, and how processes and commands behave."""
