"""What is emitted beside the module, as it is: clients for browsers, Node and Python."""
