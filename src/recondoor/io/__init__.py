"""The only way to files that somebody else wrote: the gate and the readers behind it."""
