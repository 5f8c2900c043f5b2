"""What targets offer `recast repair` alike: the limits of `verify`, and the choices of int8 by QDQ."""
