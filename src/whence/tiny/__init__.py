"""The tiny world: a closed world whose every truth is planted, and a small model that knows it.

It is the fixture of the tests, the subject of `whence demo`, and the calibration standard: on it an
instrument can be wrong, and we can measure how often.
"""
