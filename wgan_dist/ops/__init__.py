"""Operations with their own double backward, for gradient penalties."""
