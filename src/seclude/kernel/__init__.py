"""The running kernel, one mechanism a module: thin, typed, no policy. Every call that Python has no word for is made here.

Other rooms use ctypes for buffers, and where nothing may come between a call and what follows it (strict, confined workers, probes).
Nothing is imported here: the run path names the modules it needs.
"""
