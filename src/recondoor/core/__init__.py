"""What every room stands on: errors, progress, seeds, the registry of plug-ins."""
