"""What the product is compared with: real programs, each started as a process of its own."""
