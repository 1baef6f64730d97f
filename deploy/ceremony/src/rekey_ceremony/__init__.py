"""The HSM ceremony: tokens and the two halves of each KEK."""
