"""The running kernel, one mechanism a module: thin, typed, no policy. The only room with ctypes.

Nothing is imported here: the run path names the modules it needs.
"""
