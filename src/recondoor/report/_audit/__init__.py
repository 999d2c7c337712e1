"""The pages of audits and repairs."""
