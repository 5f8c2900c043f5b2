"""The operations of the Cairo target: each with its Cairo text, its mirror in integers and its rule for ranges."""
