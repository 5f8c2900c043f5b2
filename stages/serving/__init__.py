"""`recast serve RECIPE/TARGET`: an emitted model answers requests over HTTP.

The service runs in the environment `serve`; the model runs beside it, in processes of its target's environment, so that
neither has to live with the other's packages and a model that crashes or hangs takes no request but its own with it.
"""
