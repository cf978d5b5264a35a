"""Operations that define their own double backward, for gradient penalties."""
