"""What the models reach: each trained by its recipe on real digits, and judged by the same classifier."""
