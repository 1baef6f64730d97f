"""The only code of rekey that knows PKCS#11."""
