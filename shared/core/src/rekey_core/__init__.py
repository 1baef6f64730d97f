"""Words and rules of rekey, without input or output."""
