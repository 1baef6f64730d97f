"""SDK and CLI of rekey: keys that rotate without being noticed."""
