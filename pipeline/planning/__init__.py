"""From recipes to a plan: which stages there are, with which values, and what each depends on."""
