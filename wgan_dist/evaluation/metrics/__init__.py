"""How good generated images are, measured without any network's opinion."""
