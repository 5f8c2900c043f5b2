"""The page of `recast report`: results drawn with Vega-Lite, samples with every answer, and models that run in it.

It runs in the environment `report`, which no target needs, and is told all it shows by the runner.
"""
