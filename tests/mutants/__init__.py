"""Small changes to the core files, each of which some test has to notice."""
