"""What the papers promise, measured: commands that print tables and draw figures, and the tests of them."""
